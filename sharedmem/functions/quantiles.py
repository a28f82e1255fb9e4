"""Medians, percentiles and quantiles, on the pool in use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.chunks import chunks
from sharedmem.arrays.conversion import check_plain
from sharedmem.engine import sort_lines
from sharedmem.engine.operands import as_array, in_memory, is_store
from sharedmem.engine.order_statistics import is_selectable, order_statistics
from sharedmem.engine.order_statistics_stored import quantile_of_file
from sharedmem.engine.reduce import Axis
from sharedmem.engine.runners import Run
from sharedmem.engine.sort_lines import lines_a_chunk, pieces_of
from sharedmem.functions.numpy_rules import check_out, kept_shape, store
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]

# A pass for each costs more than NumPy's partition from about here on.
MAX_RANKS = 24


def median(
    a: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """Return the median of array elements, as `numpy.median` does.

    Parameters
    ----------
    a : array_like
    axis : int or tuple of int, optional
        Axes along which medians are taken; by default all.
    out : ndarray, optional
        Where the result goes, of its shape.
    overwrite_input : bool, optional
        Accepted for NumPy's sake; the array stays as it is.
    keepdims : bool, optional
        Whether reduced axes stay, with length one.

    Returns
    -------
    scalar or ndarray
        NaN where there is one among the elements.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.median([3, 1, 2, 9]))
    2.5
    """
    return of_lines(np.median, a, axis, out, keepdims, {})


def quantile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    method: Any = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """Return quantiles of array elements, as `numpy.quantile` does.

    Parameters
    ----------
    a : array_like
        Real numbers, or times with a method that allows them.
    q : array_like of float
        From 0 to 1.
    axis : int or tuple of int, optional
        Axes along which quantiles are taken; by default all.
    out, overwrite_input
        As for :func:`median`.
    method : str, optional
        Any of NumPy's.
    keepdims : bool, optional
        Whether reduced axes stay, with length one.
    weights : array_like, optional
        How much each element counts; NumPy does these, serially.

    Returns
    -------
    scalar or ndarray
        The axes of `q`, and then those of `a` that are kept. NaN where there is one among the
        elements.

    Raises
    ------
    ValueError
        If a quantile is not in the range, or there is no such method.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.quantile([1.0, 2.0, 3.0, 4.0], [0.5, 1]).tolist()
    [2.5, 4.0]
    """
    if weights is not None:
        return weighted(np.quantile, a, q, axis, out, method, keepdims, weights)
    return of_lines(np.quantile, a, axis, out, keepdims, {"q": q, "method": method})


def percentile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    method: Any = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """Return percentiles of array elements, as `numpy.percentile` does.

    Parameters
    ----------
    a, axis, out, overwrite_input, method, keepdims, weights
        As for :func:`quantile`.
    q : array_like of float
        From 0 to 100.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.percentile([1.0, 2.0, 3.0], 50))
    2.0
    """
    if weights is not None:
        return weighted(np.percentile, a, q, axis, out, method, keepdims, weights)
    return of_lines(np.percentile, a, axis, out, keepdims, {"q": q, "method": method})


def weighted(
    func: Callable[..., Any],
    a: Any,
    q: Any,
    axis: Axis,
    out: Array | None,
    method: str,
    keepdims: bool,
    weights: Any,
) -> Any:
    """Apply one of NumPy's functions that know weights."""
    a, q, weights = in_memory(a), in_memory(q), in_memory(weights)
    return func(a, q, axis, out, method=method, keepdims=keepdims, weights=weights)


class _Line(np.ndarray[Any, np.dtype[Any]]):
    """A copy of a line, which NumPy's functions may partition, and that selects in parallel.

    They read no elements but those that they have asked for; so the others stay where they are.
    """

    run: Run

    def __array_finalize__(self, obj: Any) -> None:
        if hasattr(obj, "run"):
            self.run = obj.run

    def partition(
        self, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None
    ) -> None:
        """Put the elements `kth` where sorting would put them."""
        plain = self.view(np.ndarray)
        ranks = np.unique(np.asarray(kth) % max(len(self), 1))
        if len(ranks) > MAX_RANKS:
            plain.partition(kth, axis, kind, order)
        else:
            plain[ranks] = order_statistics(self.run, plain, ranks.tolist())


def of_lines(
    func: Callable[..., Any],
    a: Any,
    axis: Axis,
    out: Array | None,
    keepdims: bool,
    options: dict[str, Any],
) -> Any:
    """Apply one of NumPy's functions along axes, in parallel."""
    runner, a = current_pool().runner, as_array(a)
    check_plain(options.get("q"))
    check_out_of(func, a, axis, out, keepdims, options)
    if is_store(a) or runner.sees(a):
        _, run, seen, _ = runner.stored(a)
        return store(quantile_of_file(run, func, seen, axis, keepdims, options), out)
    if is_numpys(a, options):
        return func(a, axis=axis, out=out, keepdims=keepdims, **options)
    axes = range(a.ndim) if axis is None else normalize_axis_tuple(axis, a.ndim, "axis")
    kept = [at for at in range(a.ndim) if at not in axes]
    # It refuses what NumPy refuses, and has the byte order that a scalar loses.
    example = func(np.zeros((1, 1) if kept else 1, a.dtype), axis=-1, **options)
    lines = a.transpose(*kept, *axes).reshape(math.prod(a.shape[at] for at in kept), -1)
    run = runner.run(sort_lines.READS * a.nbytes)
    line_bytes = lines.shape[-1] * lines.itemsize
    if is_selectable(a) and (line_bytes >= sort_lines.LONG_BYTES or not kept):
        found = [_of_line(run, func, line, options)[..., None] for line in lines]
    else:

        def of_chunk(chunk: tuple[slice, ...]) -> Array:
            copied = np.array(lines[chunk], order="C", subok=False)
            return np.asarray(func(copied, axis=-1, overwrite_input=True, **options))

        grid = chunks(len(lines), size=lines_a_chunk([len(lines)], line_bytes)[0])
        found = run(of_chunk, grid)
    results = np.concatenate(found, axis=-1, dtype=example.dtype)
    shape = np.shape(options.get("q", 0)) + kept_shape(a, axis, keepdims)
    return store(results.reshape(shape)[()], out)


def check_out_of(
    func: Callable[..., Any],
    a: Array,
    axis: Axis,
    out: Array | None,
    keepdims: bool,
    options: dict[str, Any],
) -> None:
    """Refuse an `out` that quantiles do not fit: NumPy's functions would fill or truncate some."""
    if out is None or a.dtype.kind not in "biufmM":
        return
    example = func(np.zeros((1, 1), a.dtype), axis=-1, **options)
    shape = np.shape(options.get("q", 0)) + kept_shape(a, axis, keepdims)
    check_out(out, shape, example.dtype)


def is_numpys(a: Array, options: dict[str, Any]) -> bool:
    """Say whether NumPy does an array at once."""
    return (
        a.ndim == 0
        or a.nbytes < sort_lines.SMALL_BYTES
        or a.dtype.kind not in "biufmM"
        or np.ndim(options.get("q", 0)) > 1
    )


def _of_line(run: Run, func: Callable[..., Any], line: Array, options: dict[str, Any]) -> Array:
    def copy(part: slice) -> None:
        plain[part] = line[part]

    plain = np.empty_like(line)
    run(copy, pieces_of(len(line), line.itemsize))
    copied = plain.view(_Line)
    copied.run = run
    return np.asarray(func(copied, overwrite_input=True, **options))
