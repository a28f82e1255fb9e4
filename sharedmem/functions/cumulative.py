"""Cumulative sums, products, and extrema, on the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.arrays.labels import SCAN, Dims, with_labels
from sharedmem.engine import accumulate as engine
from sharedmem.engine.accumulate_stored import accumulate_stored
from sharedmem.engine.operands import as_array, in_memory, is_store
from sharedmem.functions.elementwise import by_chunk
from sharedmem.functions.nonfinite import warn_nonfinite
from sharedmem.functions.outputs import Out
from sharedmem.functions.selection import can_write
from sharedmem.kernels.loops import chains
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

Array = NDArray[Any]

# NumPy's functions for a ufunc; those in the second place skip NaN.
_NUMPYS: dict[Any, Any] = {
    np.add: (np.cumsum, np.nancumsum),
    np.multiply: (np.cumprod, np.nancumprod),
}


@with_labels(SCAN, "a")
def accumulate(
    ufunc: Any,
    a: ArrayLike,
    axis: int = 0,
    dtype: DTypeLike | None = None,
    out: Out = None,
    *,
    dim: Dims = None,
) -> Any:
    """Accumulate the result of applying a ufunc to all elements along an axis.

    Same as ``ufunc.accumulate`` of NumPy, in parallel.

    Parameters
    ----------
    ufunc : numpy.ufunc
        A ufunc of two arguments. Workers share a long line if the ufunc is `add`, `maximum`,
        `minimum`, or `multiply` of integers; for other ufuncs each worker takes whole lines.
    a : array_like, or array in a file of zarr or h5py
        The array. One in a file is read twice, chunk by chunk, and only with a ufunc that lets
        workers share lines.
    axis : int, optional
        Axis to accumulate along, by default the first.
    dtype : dtype, optional
        Type to compute in. By default that of `out` or `a`; sums and products of booleans and
        small integers have the default integer type.
    out : ndarray, optional
        Array for the result, with the shape of `a`. It may be `a` itself.
    dim : hashable, optional
        The name of the axis of an array of xarray, instead of `axis`.

    Returns
    -------
    ndarray
        The accumulated values, with the shape of `a`, or `out`. The bits do not depend on the
        number of workers.

    Raises
    ------
    TypeError
        If `ufunc` is not a ufunc or does not support the types, or `a` has no dimensions.
    ValueError
        If `ufunc` does not take two arguments, or `axis` or `out` does not fit.

    See Also
    --------
    cumsum : Return the cumulative sum.
    cumprod : Return the cumulative product.
    reduce : Reduce an array to one state.

    Notes
    -----
    Sums of floats and complex numbers in single and double precision are compensated: each is
    within one unit in the last place of `math.fsum`, unless terms cancel. Integers wrap around.
    One worker computes the products of a long line of floats, because products of its parts may
    overflow or underflow where the whole does not.

    References
    ----------
    D. Merrill, M. Garland, Single-pass parallel prefix scan with decoupled look-back,
    NVIDIA technical report NVR-2016-002, 2016

    Examples
    --------
    >>> import numpy, sharedmem
    >>> sharedmem.accumulate(numpy.maximum, [1, 3, 2, 5]).tolist()
    [1, 3, 3, 5]
    """
    return _accumulate(ufunc, as_array(a), axis, dtype, out)


@with_labels(SCAN, "a")
def cumsum(
    a: ArrayLike,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    *,
    dim: Dims = None,
) -> Any:
    """Return the cumulative sum of the elements along an axis; see `numpy.cumsum`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The array. One in a file needs an `axis` unless it has one dimension.
    axis : int, optional
        Axis to sum along. By default the array is flattened in C order.
    dtype : dtype, optional
        Type of the result. By default that of `a`, or the default integer type if `a` has booleans
        or smaller integers.
    out : ndarray, optional
        Array for the result, with its shape. It may be `a` itself.
    dim : hashable, optional
        The name of the axis of an array of xarray, instead of `axis`.

    Returns
    -------
    ndarray
        The sums, or `out`. They are compensated: see :func:`accumulate`.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If the type does not support the operation, or `out` does not fit.

    See Also
    --------
    sum : Return the sum of all elements.
    nancumsum : Treat NaN as zero.
    accumulate : Accumulate with another ufunc.
    diff : Return the differences of neighbors.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.cumsum([[1, 2], [3, 4]]).tolist()
    [1, 3, 6, 10]
    """
    return _cumulate(np.add, as_array(a), axis, dtype, out)


@with_labels(SCAN, "a")
def cumprod(
    a: ArrayLike,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    *,
    dim: Dims = None,
) -> Any:
    """Return the cumulative product of the elements along an axis; see `numpy.cumprod`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The array. One in a file needs an `axis` unless it has one dimension.
    axis : int, optional
        Axis to multiply along. By default the array is flattened in C order.
    dtype : dtype, optional
        Type of the result. By default that of `a`, or the default integer type if `a` has booleans
        or smaller integers.
    out : ndarray, optional
        Array for the result, with its shape. It may be `a` itself.
    dim : hashable, optional
        The name of the axis of an array of xarray, instead of `axis`.

    Returns
    -------
    ndarray
        The products, or `out`.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If the type does not support the operation, or `out` does not fit.

    See Also
    --------
    prod : Return the product of all elements.
    nancumprod : Treat NaN as one.
    accumulate : Accumulate with another ufunc.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.cumprod([[1, 2], [3, 4]], axis=1).tolist()
    [[1, 2], [3, 12]]
    """
    return _cumulate(np.multiply, as_array(a), axis, dtype, out)


@with_labels(SCAN, "a")
def nancumsum(
    a: ArrayLike,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    *,
    dim: Dims = None,
) -> Any:
    """Return the cumulative sum along an axis, treating NaN as zero; see `numpy.nancumsum`.

    Parameters
    ----------
    a : array_like
        The array, in memory.
    axis : int, optional
        Axis to sum along. By default the array is flattened in C order.
    dtype : dtype, optional
        Type of the result. By default that of `a`, or the default integer type if `a` has booleans
        or smaller integers.
    out : ndarray, optional
        Array for the result, with its shape. It may be `a` itself.
    dim : hashable, optional
        The name of the axis of an array of xarray, instead of `axis`.

    Returns
    -------
    ndarray
        The sums, or `out`.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If the type does not support the operation, or `out` does not fit.

    See Also
    --------
    cumsum : Return NaN from the first NaN on.
    nansum : Return the sum of all elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.nancumsum([1.0, float("nan"), 2.0]).tolist()
    [1.0, 1.0, 3.0]
    """
    return _nancumulate(np.add, in_memory(a), axis, dtype, out)


@with_labels(SCAN, "a")
def nancumprod(
    a: ArrayLike,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    *,
    dim: Dims = None,
) -> Any:
    """Return the cumulative product along an axis, treating NaN as one; see `numpy.nancumprod`.

    Parameters
    ----------
    a : array_like
        The array, in memory.
    axis : int, optional
        Axis to multiply along. By default the array is flattened in C order.
    dtype : dtype, optional
        Type of the result. By default that of `a`, or the default integer type if `a` has booleans
        or smaller integers.
    out : ndarray, optional
        Array for the result, with its shape. It may be `a` itself.
    dim : hashable, optional
        The name of the axis of an array of xarray, instead of `axis`.

    Returns
    -------
    ndarray
        The products, or `out`.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If the type does not support the operation, or `out` does not fit.

    See Also
    --------
    cumprod : Return NaN from the first NaN on.
    nanprod : Return the product of all elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.nancumprod([2.0, float("nan"), 3.0]).tolist()
    [2.0, 2.0, 6.0]
    """
    return _nancumulate(np.multiply, in_memory(a), axis, dtype, out)


def _cumulate(
    ufunc: Any, a: Array, axis: int | None, dtype: Any, out: Any, given: Array | None = None
) -> Any:
    if ufunc is np.add and axis is None and dtype is None and out is None and given is None:
        small = engine.sum_small(a)
        if small is not None:
            return small
    if dtype is not None:  # NumPy's functions take a byte order or a unit, which ufuncs refuse
        natural = _NUMPYS[ufunc][0](np.empty(0, a.dtype), dtype=dtype).dtype
        dtype = None if natural.kind in "mM" else natural
    return _accumulate(ufunc, *_with_axis(a, axis), dtype, out, given)


@one_call
def _accumulate(
    ufunc: Any, a: Array, axis: int, dtype: Any, out: Any, given: Array | None = None
) -> Any:
    """Accumulate an array; `given` is what it was before NaN was replaced, if it was."""
    runner, nbytes = current_pool().runner, 2 * a.nbytes
    if is_store(a) or runner.sees(a):
        stream, run, seen, target = runner.stored(a, out, gives_array=True)
        result = accumulate_stored(stream, run, ufunc, seen, axis, dtype, target)
        return result if out is None else out
    # Of several lines, each is scanned by a kernel of its own.
    line = nbytes * (*a.shape[axis:], 1)[0] // max(a.size, 1)
    share = runner.share(nbytes, (chains.NEXT, chains.N_CHUNKS), moved=line)
    result = engine.accumulate(runner.run(nbytes), share, ufunc, a, axis, dtype, out)
    source = a if given is None else given
    if ufunc is np.add and result.size and not np.may_share_memory(result, source):
        # A sum that is infinite or NaN stays so to the end of its line.
        last = np.take(result, -1, axis)
        warn_nonfinite(last, "accumulate", source, axis=axis, skips_nan=given is not None)
    return result


def _with_axis(a: Array, axis: int | None) -> tuple[Array, int]:
    """Return an array with at least one axis, flattened if `axis` is None, and the axis."""
    if axis is None:
        return (a if a.ndim == 1 else in_memory(a).reshape(-1)), 0
    return (a, axis) if a.ndim else (a.reshape(1), normalize_axis_index(axis, 1))


@one_call
def _nancumulate(ufunc: Any, a: Array, axis: int | None, dtype: Any, out: Any) -> Any:
    """Accumulate a copy without NaN, in place if it has the type of the result."""
    if a.dtype.kind == "O":
        return _NUMPYS[ufunc][1](a, axis, dtype, out)
    if a.dtype.kind not in "fc":
        return _cumulate(ufunc, a, axis, dtype, out)
    a, axis = _with_axis(a, axis)
    axis = normalize_axis_index(axis, a.ndim)
    has_type = (dtype is None or np.dtype(dtype) == a.dtype) and a.dtype.isnative
    place = out if has_type and can_write(out, a.shape, a.dtype, a) else None
    numbers = np.asarray(by_chunk(_without_nan, (a, ufunc.identity), place))
    if out is None and has_type:
        out = numbers
    return _cumulate(ufunc, numbers, axis, dtype, out, a)


def _without_nan(a: Array, substitute: int, out: Out = None) -> Array:
    numbers: Array = np.positive(a, out=out)
    np.copyto(numbers, substitute, where=np.isnan(a))
    return numbers
