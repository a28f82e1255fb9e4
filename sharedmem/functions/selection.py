"""Elements selected by indices and masks, on the pool in use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import Chunk, Grid, bytes_a_chunk, chunks
from sharedmem.arrays.labels import check_aligned
from sharedmem.arrays.shared_array import populate
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import check_disk, in_memory
from sharedmem.functions.extrema import minmax
from sharedmem.functions.outputs import fits
from sharedmem.kernels import mask_selection
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

Array = NDArray[Any]


def take(
    a: ArrayLike,
    indices: ArrayLike,
    axis: int | None = None,
    out: Array | None = None,
    mode: str = "raise",
) -> Any:
    """Take elements from an array along an axis; see `numpy.take`.

    Parameters
    ----------
    a : array_like
        The array.
    indices : array_like of int
        Indices of the elements, of any shape. Negative ones count from the end.
    axis : int, optional
        Axis to take elements along. By default the array is flattened in C order.
    out : ndarray, optional
        Array for the result, with its shape and dtype.
    mode : {'raise', 'wrap', 'clip'}, optional
        How indices that are out of bounds are treated.

    Returns
    -------
    ndarray or scalar
        The elements, or `out`. The axis of `a` is replaced by the axes of `indices`.

    Raises
    ------
    IndexError
        If an index is out of bounds and `mode` is 'raise'. Large arrays are checked before anything
        is written to `out`.
    TypeError, ValueError
        If indices are not integers, or `out` does not fit.

    See Also
    --------
    compress : Select slices by a condition.
    nonzero : Return the indices of nonzero elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.take([4, 3, 5, 7], [0, -1, 1]).tolist()
    [4, 7, 3]
    """
    check_disk(out)
    data, places = in_memory(a), in_memory(indices)
    at = 0 if axis is None else normalize_axis_index(axis, data.ndim)
    shape = data.shape if axis is not None else (data.size,)
    outer, n, inner = shape[:at], shape[at], shape[at + 1 :]
    taken = outer + places.shape + inner
    if n == 0 and mode == "wrap":
        mode = "clip"  # same result; NumPy never returns from "wrap" on an empty axis
    if (
        math.prod(taken) * data.itemsize <= tuning.chunk_bytes
        or data.size == 0
        or data.dtype.hasobject
        or not np.can_cast(places.dtype, np.intp)
        or mode not in ("raise", "wrap", "clip")
        or not can_write(out, taken, data.dtype, data, places)
    ):
        return np.take(data, places, axis, out, mode)  # type: ignore[call-overload]
    if mode == "raise":
        _check_indices(places, n, at)
        mode = "wrap"  # unlike "raise", lets NumPy write to the result without a buffer
    source = np.ascontiguousarray(data).reshape(math.prod(outer), n, math.prod(inner))
    result = np.empty(taken, data.dtype) if out is None else out
    target = np.asarray(result).reshape(len(source), places.size, source.shape[2])
    places = places.reshape(-1)

    def take_chunk(chunk: Chunk) -> None:
        part = target[chunk]
        populate(part)
        np.take(source[chunk[0]], places[chunk[1]], 1, part, mode)  # type: ignore[call-overload]

    _run(take_chunk, chunks(target, (0, 1), nbytes=bytes_a_chunk(target.nbytes)), 2 * target.nbytes)
    return result


def compress(
    condition: ArrayLike, a: ArrayLike, axis: int | None = None, out: Array | None = None
) -> Any:
    """Return selected slices of an array along an axis; see `numpy.compress`.

    Parameters
    ----------
    condition : array_like, 1-D
        Whether each slice is selected. If it is shorter than the axis, the rest is left out.
    a : array_like
        The array.
    axis : int, optional
        Axis to select slices along. By default the array is flattened in C order.
    out : ndarray, optional
        Array for the result, with its shape and dtype.

    Returns
    -------
    ndarray
        The selected slices, or `out`.

    Raises
    ------
    IndexError
        If a slice beyond the end of the axis is selected.
    ValueError
        If `condition` is not one-dimensional, or `out` does not fit.

    See Also
    --------
    take : Take elements by their indices.
    nonzero : Return the indices of nonzero elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.compress([False, True, True], [[1, 2], [3, 4], [5, 6]], axis=0).tolist()
    [[3, 4], [5, 6]]
    """
    check_disk(out)
    check_aligned(a, condition=condition)
    data, chosen = in_memory(a), in_memory(condition)
    if chosen.ndim != 1 or max(data.nbytes, chosen.nbytes) <= tuning.chunk_bytes:
        return np.compress(chosen, data, axis, out)
    is_line = data.ndim == 1 and axis in (None, 0, -1)
    if out is not None or len(chosen) > data.size or not (is_line or axis is None):
        return take(data, flatnonzero(chosen), axis, out)
    return _kept(data, chosen)


@one_call
def _kept(data: Array, chosen: Array) -> Array:
    """Return the chosen elements of a large array."""
    mask = _mask(chosen)
    line, word = data.reshape(-1)[: len(mask)], mask_selection.WORDS.get(data.itemsize)
    grid, starts = _places(mask)
    result = np.empty(starts[-1], data.dtype)

    def keep_chunk(chunk: Chunk) -> None:
        part, target = line[chunk], result[starts[chunk.index] : starts[chunk.index + 1]]
        if word is None or data.dtype.hasobject:
            target[...] = part[mask[chunk].view(bool)]
        else:
            words = np.require(part, requirements=["C", "A"]).view(word)
            mask_selection.keep(mask[chunk], words, target.view(word))

    _run(keep_chunk, grid, line.nbytes)
    return result


def nonzero(a: ArrayLike) -> tuple[Array, ...]:
    """Return the indices of the elements that are nonzero; see `numpy.nonzero`.

    Parameters
    ----------
    a : array_like
        The array, of at least one dimension.

    Returns
    -------
    tuple of ndarray of int
        The indices along each axis. The elements are in C order.

    Raises
    ------
    ValueError
        If `a` has no dimensions.

    See Also
    --------
    flatnonzero : Return the indices in the flattened array.
    count_nonzero : Count these elements.
    where : Choose between elements.

    Examples
    --------
    >>> import sharedmem
    >>> [index.tolist() for index in sharedmem.nonzero([[3, 0], [0, 4]])]
    [[0, 1], [0, 1]]
    """
    data = in_memory(a)
    if data.nbytes <= tuning.chunk_bytes or data.ndim == 0 or data.dtype.kind not in "biufcmM":
        return np.nonzero(data)
    return _located(data)


@one_call
def _located(data: Array) -> tuple[Array, ...]:
    """Return the indices of the nonzero elements of a large array."""
    mask = _mask(data)
    grid, starts = _places(mask)
    indices = np.empty((data.ndim, starts[-1]), np.intp)

    def locate_chunk(chunk: Chunk) -> None:
        target = indices[:, starts[chunk.index] : starts[chunk.index + 1]]
        mask_selection.locate(mask[chunk], chunk.start, data.shape, target)

    _run(locate_chunk, grid, mask.nbytes + indices.nbytes)
    return tuple(indices)


def flatnonzero(a: ArrayLike) -> Array:
    """Return the indices of the nonzero elements of the flattened array; see `numpy.flatnonzero`.

    Parameters
    ----------
    a : array_like
        The array, which is flattened in C order.

    Returns
    -------
    ndarray of int
        The indices.

    See Also
    --------
    nonzero : Return the indices along each axis.
    count_nonzero : Count these elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.flatnonzero([[3, 0], [0, 4]]).tolist()
    [0, 3]
    """
    return nonzero(in_memory(a).reshape(-1))[0]


def can_write(
    out: Any, shape: tuple[int, ...], dtype: np.dtype[Any] | None, *inputs: Array
) -> bool:
    """Return whether chunks of `out` may be written while others are read, or there is no `out`."""
    return out is None or (
        fits(out, shape, dtype)
        and out.flags.c_contiguous
        and out.flags.aligned
        and not any(np.may_share_memory(out, x) for x in inputs)
    )


def _check_indices(places: Array, n: int, axis: int) -> None:
    lowest, highest = minmax(places)
    if lowest < -n or highest >= n:
        wrong = places[(places < -n) | (places >= n)][0]
        raise IndexError(f"index {wrong} is out of bounds for axis {axis} with size {n}")


def _mask(a: Array) -> Array:
    """Return 1 for each element that is nonzero, and 0 for others, in C order."""
    if a.dtype.kind in "mM":
        a = a.view(a.dtype.str[0] + "i8")
    mask = a
    if a.dtype.kind != "b" or not a.flags.c_contiguous:
        mask = np.empty(a.shape, bool)
        grid = chunks(a, memory_order(a.strides), nbytes=bytes_a_chunk(a.nbytes))
        _run(lambda chunk: np.not_equal(a[chunk], 0, out=mask[chunk]), grid, a.nbytes)
    return mask.reshape(-1).view(np.uint8, np.ndarray)


def _places(mask: Array) -> tuple[Grid, list[int]]:
    """Return the chunks of a mask, and where in the result the selection of each begins."""
    grid = chunks(mask, nbytes=bytes_a_chunk(8 * mask.nbytes) // 8)
    counts: list[int] = _run(lambda chunk: mask_selection.count(mask[chunk]), grid, mask.nbytes)
    return grid, [0, *np.cumsum(counts).tolist()]


def _run(task: Callable[[Chunk], Any], grid: Grid, nbytes: int) -> list[Any]:
    return current_pool().runner.run(nbytes)(task, grid)
