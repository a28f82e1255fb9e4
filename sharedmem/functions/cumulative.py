"""Cumulative sums, products and extrema, and differences, on the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.arrays.chunks import Chunk, bytes_a_chunk, chunks
from sharedmem.engine import accumulate as engine
from sharedmem.engine.accumulate_stored import accumulate_stored
from sharedmem.engine.operands import as_array, check_target, in_memory, is_store
from sharedmem.functions.nonfinite import told
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]


def accumulate(
    ufunc: Any,
    a: ArrayLike,
    axis: int = 0,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Any:
    """Accumulate the elements of an array along an axis, as `numpy.ufunc.accumulate` does.

    Parameters
    ----------
    ufunc : numpy.ufunc
        Of two arguments. Long lines are shared by the workers for `add`, `maximum` and `minimum`,
        and for `multiply` of integers; for other ufuncs the workers take whole lines.
    a : array_like, or an array in a file of zarr or h5py
        One in a file is read twice, chunk by chunk, and never as a whole; that is for `add`,
        `maximum` and `minimum`, and for `multiply` of integers.
    axis : int, optional
        Axis to accumulate along, by default the first.
    dtype : dtype, optional
        Type to compute in. By default that of `out`, or of `a`; sums and products of booleans and
        small integers are of the default integer type.
    out : ndarray, optional
        Where the result goes, of its shape; it may be `a` itself.

    Returns
    -------
    ndarray
        Of the shape of `a`. The same bits for any number of workers.

    Raises
    ------
    TypeError
        If `ufunc` is no ufunc, or does not work on the types, or `a` has no dimensions.
    ValueError
        If `ufunc` does not take two arguments, or `axis` or `out` does not fit.

    Notes
    -----
    Sums of floats and of complex numbers in single and double precision are compensated: each is
    within one unit in the last place of `math.fsum`, unless terms cancel. Integers wrap around.
    Products of a long line of floats are computed by one worker: they may overflow, or vanish,
    where those of its parts do not.

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


def cumsum(
    a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: Array | None = None
) -> Any:
    """Return the sums of the first elements along an axis, as `numpy.cumsum` does.

    Parameters
    ----------
    a : array_like
    axis : int, optional
        By default all elements are one line, in C order.
    dtype, out
        As for :func:`accumulate`.

    Returns
    -------
    ndarray
        Compensated: see :func:`accumulate`.

    Raises
    ------
    TypeError, ValueError
        As :func:`accumulate`.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.cumsum([[1, 2], [3, 4]]).tolist()
    [1, 3, 6, 10]
    """
    return _cumulate(np.add, as_array(a), axis, dtype, out)


def cumprod(
    a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: Array | None = None
) -> Any:
    """Return the products of the first elements along an axis, as `numpy.cumprod` does.

    Parameters
    ----------
    a : array_like
    axis : int, optional
        By default all elements are one line, in C order.
    dtype, out
        As for :func:`accumulate`.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        As :func:`accumulate`.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.cumprod([[1, 2], [3, 4]], axis=1).tolist()
    [[1, 2], [3, 12]]
    """
    return _cumulate(np.multiply, as_array(a), axis, dtype, out)


def nancumsum(
    a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: Array | None = None
) -> Any:
    """Return what `cumsum` does where NaN counts as zero, as `numpy.nancumsum` does.

    Parameters
    ----------
    a, axis, dtype, out
        As for :func:`cumsum`.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        As :func:`cumsum`.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.nancumsum([1.0, float("nan"), 2.0]).tolist()
    [1.0, 1.0, 3.0]
    """
    return _nancumulate(np.add, in_memory(a), axis, dtype, out, 0)


def nancumprod(
    a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: Array | None = None
) -> Any:
    """Return what `cumprod` does where NaN counts as one, as `numpy.nancumprod` does.

    Parameters
    ----------
    a, axis, dtype, out
        As for :func:`cumprod`.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        As :func:`cumprod`.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.nancumprod([2.0, float("nan"), 3.0]).tolist()
    [2.0, 2.0, 6.0]
    """
    return _nancumulate(np.multiply, in_memory(a), axis, dtype, out, 1)


def diff(
    a: ArrayLike, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue
) -> Any:
    """Return the differences of neighbours along an axis, as `numpy.diff` does.

    Parameters
    ----------
    a : array_like
    n : int, optional
        How many times differences are taken.
    axis : int, optional
        By default the last.
    prepend, append : array_like, optional
        Values to put before `a`, or behind it, along the axis; scalars are repeated.

    Returns
    -------
    ndarray
        Shorter than `a`, with what is put to it, by `n` along the axis. For booleans, whether
        neighbours differ.

    Raises
    ------
    ValueError
        If `n` is negative, or `a` has no dimensions, or not the axis.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.diff([1, 2, 4, 7]).tolist()
    [1, 2, 3]
    """
    a = in_memory(a)
    if n <= 0 or a.ndim == 0 or a.nbytes <= engine.CHUNK_BYTES or a.dtype.hasobject:
        return np.diff(a, n, axis, prepend, append)
    axis = normalize_axis_index(axis, a.ndim)
    side = list(a.shape)
    side[axis] = 1
    parts = [
        np.broadcast_to(in_memory(part), side) if np.ndim(part) == 0 else in_memory(part)
        for part in (prepend, a, append)
        if part is not np._NoValue
    ]
    if len(parts) > 1:
        a = np.concatenate(parts, axis)
    for _ in range(n):
        a = _differences(a, axis)
    return a


def _differences(a: Array, axis: int) -> Array:
    before: tuple[slice, ...] = (*[slice(None)] * axis, slice(None, -1))
    after: tuple[slice, ...] = (*[slice(None)] * axis, slice(1, None))
    subtract = np.not_equal if a.dtype.kind == "b" else np.subtract
    sample = np.empty(0, a.dtype)
    result = np.empty_like(a[after], subtract(sample, sample).dtype, subok=False)
    current_pool().apply_ufunc(subtract, a[after], a[before], out=result)
    return result


def _cumulate(
    ufunc: Any,
    a: Array,
    axis: int | None,
    dtype: DTypeLike | None,
    out: Any,
    all_of_a: Array | None = None,
) -> Any:
    if dtype is not None:  # NumPy's functions take a byte order or a unit, which ufuncs refuse
        by_numpy = np.cumsum if ufunc is np.add else np.cumprod
        natural = by_numpy(np.empty(0, a.dtype), dtype=dtype).dtype
        dtype = None if natural.kind in "mM" else natural
    return _accumulate(ufunc, *_with_axis(a, axis), dtype, out, all_of_a)


def _accumulate(
    ufunc: Any,
    a: Array,
    axis: int,
    dtype: DTypeLike | None,
    out: Any,
    all_of_a: Array | None = None,
) -> Any:
    """Accumulate an array, which is `all_of_a` without its NaNs where that is given."""
    runner, nbytes = current_pool().runner, 2 * a.nbytes
    if is_store(a) or runner.sees(a):
        stream, run, seen, target = runner.stored(a, out, gives_array=True)
        result = accumulate_stored(stream, run, ufunc, seen, axis, dtype, target)
        return result if out is None else out
    result = engine.accumulate(runner.run(nbytes), runner.share(nbytes), ufunc, a, axis, dtype, out)
    skips_nan = all_of_a is not None
    source = a if all_of_a is None else all_of_a
    if ufunc is np.add and result.size and not np.may_share_memory(result, source):
        # What is infinite or NaN stays one of them to the end of a line.
        last = np.take(result, -1, axis)
        told(last, "accumulate", source, axis=axis, skips_nan=skips_nan)
    return result


def _with_axis(a: Array, axis: int | None) -> tuple[Array, int]:
    """Return an array that has an axis to accumulate along."""
    if axis is None and not (is_store(a) and a.ndim == 1):
        return in_memory(a).reshape(-1), 0
    if axis is None:
        return a, 0
    return (a, axis) if a.ndim else (a.reshape(1), normalize_axis_index(axis, 1))


def _nancumulate(
    ufunc: Any, a: Array, axis: int | None, dtype: DTypeLike | None, out: Any, instead: int
) -> Any:
    """Accumulate what is not NaN, in the copy that has none where that has the type of a result."""
    if a.dtype.kind == "O":
        return (np.nancumsum if ufunc is np.add else np.nancumprod)(a, axis, dtype, out)
    if a.dtype.kind not in "fc":
        return _cumulate(ufunc, a, axis, dtype, out)
    a, axis = _with_axis(a, axis)
    axis = normalize_axis_index(axis, a.ndim)
    has_type = (dtype is None or np.dtype(dtype) == a.dtype) and a.dtype.isnative
    if has_type and _is_like(out, a):
        check_target(out, "out")
        numbers = np.asarray(out)
    else:
        numbers = np.empty_like(a, subok=False)

    def copy(chunk: Chunk) -> None:
        part = a[chunk]
        np.copyto(numbers[chunk], part)
        np.copyto(numbers[chunk], instead, where=np.isnan(part))

    grid = chunks(a, range(a.ndim), nbytes=bytes_a_chunk(a.nbytes))
    current_pool().runner.run(a.nbytes)(copy, grid)
    if out is None and has_type:
        out = numbers
    return _cumulate(ufunc, numbers, axis, dtype, out, a)


def _is_like(out: Any, a: Array) -> bool:
    """Say whether `out` has the shape and the type of an array, and memory of its own."""
    is_array = isinstance(out, np.ndarray) and out.shape == a.shape and out.dtype == a.dtype
    return is_array and not np.may_share_memory(a, out)
