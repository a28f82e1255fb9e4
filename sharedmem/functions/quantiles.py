"""Medians, percentiles, and quantiles, on the pool in use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.chunks import chunks
from sharedmem.arrays.conversion import check_plain
from sharedmem.engine.operands import as_array, in_memory, is_store
from sharedmem.engine.order_statistics import is_selectable, order_statistics
from sharedmem.engine.order_statistics_stored import SelectingLine, quantile_of_file
from sharedmem.engine.reduce import Axis
from sharedmem.engine.runners import Run
from sharedmem.engine.sort_lines import lines_a_chunk, pieces_of
from sharedmem.functions import sorting
from sharedmem.functions.outputs import check_out, kept_shape, store
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]
Function = Callable[..., Any]
Options = dict[str, Any]  # q, method, and weights of NumPy's functions


def median(
    a: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """Compute the median along axes; see `numpy.median`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The array. One in a file is read several times, chunk by chunk; with `axis` it is read once,
        in whole lines.
    axis : int or tuple of int, optional
        Axes along which medians are computed, by default all.
    out : ndarray, optional
        Array for the result, with its shape.
    overwrite_input : bool, optional
        Accepted for compatibility with NumPy. The array is never changed.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.

    Returns
    -------
    scalar or ndarray
        The medians, or `out`. NaN if an element is NaN.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError, ValueError
        If `out` does not fit, or the elements have no median.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.median([3, 1, 2, 9]))
    2.5
    """
    return along_axes(np.median, a, axis, out, keepdims, {})


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
    """Compute the q-th quantile along axes; see `numpy.quantile`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        Real numbers, or times if the method does not interpolate. With weights they must be in
        memory.
    q : array_like of float
        Quantiles to compute, from 0 to 1.
    axis, out, overwrite_input
        See :func:`median`.
    method : str, optional
        Any method of NumPy.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.
    weights : array_like, optional
        Weight of each element. Weighted quantiles are left to NumPy, which is serial.

    Returns
    -------
    scalar or ndarray
        The quantiles, or `out`. The axes of `q` come first, then the axes of `a` that are kept.
        NaN if an element is NaN.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError, ValueError
        If a quantile is out of range, there is no such method, or `out` or `weights` does not fit.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.quantile([1.0, 2.0, 3.0, 4.0], [0.5, 1]).tolist()
    [2.5, 4.0]
    """
    return along_axes(np.quantile, a, axis, out, keepdims, options_of(q, method, weights))


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
    """Compute the q-th percentile along axes; see `numpy.percentile`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The array.
    q : array_like of float
        Percentiles to compute, from 0 to 100.
    axis, out, overwrite_input, method, keepdims, weights
        See :func:`quantile`.

    Returns
    -------
    scalar or ndarray
        The percentiles, as :func:`quantile` returns them.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.percentile([1.0, 2.0, 3.0], 50))
    2.0
    """
    return along_axes(np.percentile, a, axis, out, keepdims, options_of(q, method, weights))


def options_of(q: Any, method: str, weights: Any) -> Options:
    """Return the options of a NumPy function that computes quantiles."""
    options = {"q": q, "method": method}
    return options if weights is None else {**options, "weights": in_memory(weights)}


def check(
    func: Function, a: Array, axis: Axis, out: Array | None, keepdims: bool, options: Options
) -> None:
    """Raise if `q` or `out` does not fit; NumPy's functions accept some `out` that do not."""
    if "q" in options:
        check_plain(options["q"])
    if out is not None and a.dtype.kind in "biufmM":
        unweighted = {name: value for name, value in options.items() if name != "weights"}
        example = func(np.zeros((1, 1), a.dtype), axis=-1, **unweighted)
        check_out(out, _result_shape(a, axis, keepdims, options), example.dtype)


def is_numpys(a: Array, options: Options) -> bool:
    """Return whether the whole array is left to NumPy."""
    return (
        sorting.is_numpys(a, "biufmM") or "weights" in options or np.ndim(options.get("q", 0)) > 1
    )


def along_axes(
    func: Function, a: Any, axis: Axis, out: Array | None, keepdims: bool, options: Options
) -> Any:
    """Apply a NumPy function along axes, in parallel."""
    runner, a = current_pool().runner, in_memory(a) if "weights" in options else as_array(a)
    check(func, a, axis, out, keepdims, options)
    if is_store(a) or runner.sees(a):
        _, run, seen, _ = runner.stored(a)
        return store(quantile_of_file(run, func, seen, axis, keepdims, options), out)
    if is_numpys(a, options):
        return func(a, axis=axis, out=out, keepdims=keepdims, **options)
    axes = range(a.ndim) if axis is None else normalize_axis_tuple(axis, a.ndim, "axis")
    kept = [at for at in range(a.ndim) if at not in axes]
    # Raises what NumPy raises, and has the byte order that a scalar loses.
    example = func(np.zeros((1, 1) if kept else 1, a.dtype), axis=-1, **options)
    lines = a.transpose(*kept, *axes).reshape(math.prod(a.shape[at] for at in kept), -1)
    run = runner.run(tuning.sort_reads * a.nbytes)
    line_bytes = lines.shape[-1] * lines.itemsize
    if is_selectable(a) and (line_bytes >= tuning.sort_line_bytes or not kept):
        found = [_of_line(run, func, line, options)[..., None] for line in lines]
    else:

        def of_chunk(chunk: tuple[slice, ...]) -> Array:
            copied = np.array(lines[chunk], order="C", subok=False)
            return np.asarray(func(copied, axis=-1, overwrite_input=True, **options))

        grid = chunks(len(lines), size=lines_a_chunk([len(lines)], line_bytes)[0])
        found = run(of_chunk, grid)
    results = np.concatenate(found, axis=-1, dtype=example.dtype)
    return store(results.reshape(_result_shape(a, axis, keepdims, options))[()], out)


def _result_shape(a: Array, axis: Axis, keepdims: bool, options: Options) -> tuple[int, ...]:
    return np.shape(options.get("q", 0)) + kept_shape(a, axis, keepdims)


def _of_line(run: Run, func: Function, line: Array, options: Options) -> Array:
    """Apply a NumPy function to a copy of a line, which selects order statistics in parallel."""

    def copy(part: slice) -> None:
        plain[part] = line[part]

    def select(ranks: list[int]) -> Array:
        if len(ranks) > tuning.quantile_ranks:
            plain.partition(ranks)
            return plain[ranks]
        return order_statistics(run, plain, ranks)

    plain = np.empty_like(line)
    run(copy, pieces_of(len(line), line.itemsize))
    copied = plain.view(SelectingLine)
    copied.select = select
    return np.asarray(func(copied, overwrite_input=True, **options))
