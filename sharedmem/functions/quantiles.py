"""Medians, percentiles, and quantiles, on the pool in use."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.arrays.conversion import check_plain
from sharedmem.arrays.labels import QUANTILES, REDUCTION, Dims, with_labels
from sharedmem.engine.long_lines import is_comparable
from sharedmem.engine.operands import as_array, in_memory, is_store
from sharedmem.engine.order_statistics import OfStored, SelectingLine
from sharedmem.engine.reduce import Axis
from sharedmem.engine.regions import read
from sharedmem.engine.runners import Run
from sharedmem.functions import sorting
from sharedmem.functions.outputs import check_out, kept_shape, store
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

Array = NDArray[Any]
Function = Callable[..., Any]
Options = dict[str, Any]  # q, method, and weights of NumPy's functions


@with_labels(REDUCTION, "a")
@one_call
def median(
    a: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
    *,
    dim: Dims = None,
) -> Any:
    """Compute the median along axes; see `numpy.median`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The array. One in a file is read several times, chunk by chunk; with `axis` it is read once,
        in whole lines.
    axis : int or tuple of int, optional
        Axes to reduce, by default all.
    out : ndarray, optional
        Array for the result, with its shape.
    overwrite_input : bool, optional
        Accepted for compatibility with NumPy. The array is never changed.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

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

    See Also
    --------
    nanmedian : Ignore NaN.
    quantile : Compute any quantile.
    mean : Return the mean.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.median([3, 1, 2, 9]))
    2.5
    """
    return along_axes(np.median, a, axis, out, keepdims, {})


@with_labels(QUANTILES, "a")
@one_call
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
    dim: Dims = None,
) -> Any:
    """Compute the q-th quantile along axes; see `numpy.quantile`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        Real numbers, or times if the method does not interpolate. With weights they must be in
        memory.
    q : array_like of float
        Quantiles to compute, from 0 to 1.
    axis : int or tuple of int, optional
        Axes to reduce, by default all.
    out : ndarray, optional
        Array for the result, with its shape.
    overwrite_input : bool, optional
        Accepted for compatibility with NumPy. The array is never changed.
    method : str, optional
        Any method of NumPy.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.
    weights : array_like, optional
        Weight of each element. Weighted quantiles are left to NumPy, which is serial.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

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

    See Also
    --------
    percentile : Take percentages instead of fractions.
    nanquantile : Ignore NaN.
    median : Compute the middle quantile.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.quantile([1.0, 2.0, 3.0, 4.0], [0.5, 1]).tolist()
    [2.5, 4.0]
    """
    return along_axes(np.quantile, a, axis, out, keepdims, options_of(q, method, weights))


@with_labels(QUANTILES, "a")
@one_call
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
    dim: Dims = None,
) -> Any:
    """Compute the q-th percentile along axes; see `numpy.percentile`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The array.
    q : array_like of float
        Percentiles to compute, from 0 to 100.
    axis : int or tuple of int, optional
        Axes to reduce, by default all.
    out : ndarray, optional
        Array for the result, with its shape.
    overwrite_input : bool, optional
        Accepted for compatibility with NumPy. The array is never changed.
    method : str, optional
        Any method of NumPy.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.
    weights : array_like, optional
        Weight of each element. Weighted quantiles are left to NumPy, which is serial.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The percentiles, as :func:`quantile` returns them.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError, ValueError
        If a percentile is out of range, there is no such method, or `out` or `weights` does not
        fit.

    See Also
    --------
    quantile : Take fractions instead of percentages.
    nanpercentile : Ignore NaN.
    median : Compute the 50th percentile.

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
    is_small = sorting.is_numpys(a, "biufmM")
    return is_small or "weights" in options or np.ndim(options.get("q", 0)) > 1


def along_axes(
    func: Function, a: Any, axis: Axis, out: Array | None, keepdims: bool, options: Options
) -> Any:
    """Apply a NumPy function along axes, in parallel."""
    runner, a = current_pool().runner, as_array(a)
    if "weights" in options or a.ndim == 0 or 0 in a.shape:
        a, is_stored = in_memory(a), False
    else:
        is_stored = is_store(a) or runner.sees(a)
    check(func, a, axis, out, keepdims, options)
    if is_stored:
        _, run, a, _ = runner.stored(a)
    elif is_numpys(a, options):
        return func(a, axis=axis, out=out, keepdims=keepdims, **options)
    else:
        run, _ = sorting.threads_for(a)
    return store(by_lines(run, func, a, axis, keepdims, options), out)


def by_lines(run: Run, func: Function, a: Any, axis: Axis, keepdims: bool, options: Options) -> Any:
    """Apply a NumPy function along axes of an array in memory or in a file.

    A file that is reduced as a whole is read a few times. Otherwise each task reads whole lines.
    """
    axes = normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim, "axis")
    kept = tuple(at for at in range(a.ndim) if at not in axes)
    # Raises what NumPy raises, and has the byte order that a scalar loses.
    example = func(np.zeros((1, 1) if kept else 1, a.dtype), axis=-1, **options)
    result: Any = np.empty(_result_shape(a, axes, False, options), example.dtype)
    lengths = [a.shape[at] for at in kept]
    is_stored, line_bytes = is_store(a), a.nbytes // math.prod(lengths)
    is_long = not kept or (line_bytes >= tuning.sort_line_bytes and not is_stored)
    if is_long and is_comparable(a):
        for place in np.ndindex(*lengths):
            line = a if is_stored else a.transpose(*kept, *axes)[place].reshape(-1)
            found = func(SelectingLine.of(run, line), overwrite_input=True, **options)
            result[(..., *place)] = found
    elif is_long and is_stored:
        in_memory(a)  # refuses it
    else:
        grid = chunks(a, kept, nbytes=None if is_stored else tuning.sort_piece_bytes)
        parts = run(_OfLines(a, func, kept, axes, options), grid)
        for chunk, part in zip(grid, parts, strict=True):
            target = result[(..., *(chunk[at] for at in kept))]
            target[...] = part.reshape(target.shape)
    return result.reshape(_result_shape(a, axis, keepdims, options))[()]


@dataclass(frozen=True)
class _OfLines(OfStored):
    """A task that applies a function to whole lines."""

    func: Function
    kept: tuple[int, ...]
    axes: tuple[int, ...]
    options: Options

    def __call__(self, chunk: Chunk) -> Array:
        values = read(self.store, chunk).transpose(*self.kept, *self.axes)
        n_lines = math.prod(values.shape[: len(self.kept)])
        lines = np.array(values, order="C").reshape(n_lines, -1)
        return np.asarray(self.func(lines, axis=-1, overwrite_input=True, **self.options))


def _result_shape(a: Array, axis: Axis, keepdims: bool, options: Options) -> tuple[int, ...]:
    return np.shape(options.get("q", 0)) + kept_shape(a, axis, keepdims)
