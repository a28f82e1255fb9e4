"""SharedArray: the ndarray that all processes of a team see, and its constructors."""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.memory import (
    Segment,
    SegmentKey,
    find_segment,
    in_threads,
    open_segment,
)

_PIECE_BYTES = 4 << 20


class Layout(NamedTuple):
    """How an array lies in its segment; offset and strides in bytes."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    writeable: bool


class _PrivateArray(np.ndarray[Any, np.dtype[Any]]):
    """What becomes of a SharedArray whose bytes turn out to lie in private memory.

    NumPy makes such arrays in C (``np.array(x, subok=True)``); they copy and pickle by value.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _plain(result: Any) -> Any:
    """Return a fresh array as an ndarray, everything else as it is."""
    if type(result) is _PrivateArray:
        return result.view(np.ndarray)
    if type(result) in (tuple, list):
        return type(result)(map(_plain, result))
    return result


class SharedArray(np.ndarray[Any, np.dtype[Any]]):
    """An array in anonymous shared memory: forked processes see each other's writes.

    Views are SharedArrays too. What needs memory of its own (arithmetic, ``copy``, ``astype``,
    masks, fancy indexing, reductions) is a plain ndarray in private memory.

    Parameters
    ----------
    shape : int or sequence of ints
        Shape of the array.
    dtype : dtype, optional
        Any type of fixed size without Python objects.
    order : {'C', 'F'}, optional
        Order in memory.

    Notes
    -----
    A SharedArray is pickled by reference: loaded in any process of this user on this machine
    while a process that pickled it lives, it is the same memory. Use ``array.copy()`` to send a copy. The
    memory is freed when the last process has dropped its last view.

    Examples
    --------
    >>> import sharedmem
    >>> counts = sharedmem.zeros(3, dtype="i8")
    >>> def work(i):
    ...     counts[i] = i * i
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     _ = pool.map(work, range(3))
    >>> counts
    SharedArray([0, 1, 4])
    >>> type(counts[1:]).__name__, type(counts + 1).__name__
    ('SharedArray', 'ndarray')
    """

    def __new__(
        cls, shape: int | Sequence[int], dtype: DTypeLike = "f8", order: str = "C"
    ) -> SharedArray:
        sizes = _check_shape(shape)
        axes = range(len(sizes))
        if order not in ("C", "F"):
            raise ValueError(f"order must be 'C' or 'F', not {order!r}")
        return _allocate(sizes, dtype, axes if order == "C" else axes[::-1])

    def __array_finalize__(self, obj: object) -> None:
        # A base that is a SharedArray contains this view: NumPy checks the bounds. All else
        # is decided by the address.
        if type(self.base) is not SharedArray and _segment_of(self) is None:
            self.__class__ = _PrivateArray  # type: ignore[assignment]

    def __array_wrap__(
        self, array: Any, context: Any = None, return_scalar: bool = False
    ) -> Any:
        return array[()] if return_scalar else array

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _plain(super().__array_function__(func, types, args, kwargs))

    def __getitem__(self, key: Any) -> Any:
        return _plain(super().__getitem__(key))

    def __copy__(self) -> NDArray[Any]:
        return self.view(np.ndarray).__copy__()

    def __deepcopy__(self, memo: dict[int, Any] | None) -> NDArray[Any]:
        return self.view(np.ndarray).__deepcopy__(memo)

    def __reduce__(self) -> Any:
        segment, layout = describe(self)
        return _load, (segment.key, layout)

    def __setstate__(self, state: Any) -> None:
        raise TypeError("the memory of a SharedArray cannot be exchanged; assign to array[...]")


def _fresh_as_plain(name: str) -> Callable[..., Any]:
    """Return the method of ndarray with fresh results as ndarrays."""
    method = getattr(np.ndarray, name)

    @functools.wraps(method)
    def call(self: SharedArray, *args: Any, **kwargs: Any) -> Any:
        return _plain(method(self, *args, **kwargs))

    return call


# The methods that allocate in C and keep the subclass.
for _name in (
    "argmax argmin argpartition argsort astype byteswap choose compress copy diagonal dot flatten "
    "nonzero ravel repeat reshape searchsorted take trace"
).split():
    setattr(SharedArray, _name, _fresh_as_plain(_name))


def describe(array: NDArray[Any]) -> tuple[Segment, Layout]:
    """Return the segment that an array lies in and how it lies there; see :func:`restore`."""
    segment = _segment_of(array)
    if segment is None:
        raise ValueError("the array lies in no segment; copy it by sharedmem.copy first")
    offset = _address(array) - segment.address
    return segment, Layout(
        offset, array.shape, array.strides, array.dtype, array.flags.writeable
    )


def restore(segment: Segment, layout: Layout) -> SharedArray:
    """Return the array of this layout in a segment.

    Raises
    ------
    ValueError
        The layout does not lie inside of the segment.
    """
    offset, shape, strides, dtype, writeable = layout
    _check_dtype(dtype)
    low, high = _extent(shape, strides, dtype.itemsize)
    if len(shape) != len(strides) or min(shape, default=0) < 0:
        raise ValueError(f"no array has shape {shape} and strides {strides}")
    if offset + low < 0 or offset + high > segment.nbytes:
        raise ValueError(
            f"an array of shape {shape}, strides {strides} and type {dtype} at offset {offset} "
            f"lies outside of its segment of {segment.nbytes} bytes"
        )
    array = _view(segment, shape, dtype, offset, strides)
    array.flags.writeable = writeable
    return array


def _load(key: SegmentKey, layout: Layout) -> SharedArray:
    return restore(open_segment(key), layout)


def _view(
    segment: Segment,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
) -> SharedArray:
    return np.ndarray.__new__(SharedArray, shape, dtype, segment.buffer, offset, strides)


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _extent(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> tuple[int, int]:
    """Return where the bytes of an array begin and end, relative to its first element."""
    if 0 in shape:
        return 0, 0
    low = high = 0
    for size, stride in zip(shape, strides):
        span = (size - 1) * stride
        low += min(span, 0)
        high += max(span, 0)
    return low, high + itemsize


def _segment_of(array: NDArray[Any]) -> Segment | None:
    """Return the live segment that contains all bytes of an array, if there is one."""
    address = _address(array)
    low, high = _extent(array.shape, array.strides, array.dtype.itemsize)
    segment = find_segment(address + low, high - low)
    if segment is None and low == high:  # an empty view may stand at the very end
        segment = find_segment(address - 1, 0)
    return segment


def _check_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape as a tuple; refuse what is no shape."""
    sizes = shape if isinstance(shape, Iterable) else (shape,)
    checked = tuple(map(operator.index, sizes))
    if min(checked, default=0) < 0:
        raise ValueError(f"negative dimensions are not allowed: shape {checked}")
    return checked


def _check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return the dtype; refuse one that holds Python objects."""
    checked = np.dtype(dtype)
    if checked.hasobject:
        raise TypeError(
            f"an array of type {checked} holds pointers to Python objects, which mean nothing in "
            f"another process; use a type of fixed size"
        )
    return checked


def _allocate(shape: tuple[int, ...], dtype: DTypeLike, axes: Sequence[int]) -> SharedArray:
    """Return a fresh array whose memory runs through `axes`, the last one fastest."""
    # NumPy gives 'S' a size of one byte, and a subarray type further axes.
    template = np.empty(0, _check_dtype(dtype))
    axes = (*axes, *range(len(axes), len(axes) + template.ndim - 1))
    shape += template.shape[1:]
    segment = Segment(math.prod(shape) * template.itemsize)
    array = _view(segment, [shape[axis] for axis in axes], template.dtype)
    return array.transpose(sorted(range(len(axes)), key=axes.__getitem__))


def _memory_order(array: NDArray[Any], order: str) -> Sequence[int]:
    """Return the axes of an array from slowest to fastest, as NumPy reads `order`."""
    if order not in ("C", "F", "A", "K"):
        raise ValueError(f"order must be one of 'C', 'F', 'A' or 'K', not {order!r}")
    axes = range(array.ndim)
    if order == "F" or (order in "AK" and array.flags.fnc):
        return axes[::-1]
    if order == "K" and not array.flags.c_contiguous:
        return sorted(axes, key=lambda axis: -abs(array.strides[axis]))
    return axes


def _fill(array: SharedArray, values: NDArray[Any]) -> SharedArray:
    """Copy broadcast values into a fresh array, in parallel threads."""
    axes = _memory_order(array, "K")
    target = array.transpose(axes)
    source = np.broadcast_to(values, array.shape).transpose(axes)
    if source.flags.c_contiguous:
        target, source = target.reshape(-1), source.reshape(-1)
    elif values.ndim == 0:
        target = target.reshape(-1)
        source = np.broadcast_to(values, target.shape)
    segment, _ = describe(array)

    def fill(index: tuple[int | slice, ...]) -> None:
        piece = target[(*index, ...)]
        start = _address(piece) - segment.address
        segment.populate(start, start + piece.nbytes)
        np.copyto(piece, source[index], casting="unsafe")

    in_threads(fill, _pieces(target), target.nbytes // _PIECE_BYTES)
    return array


def _pieces(array: NDArray[Any]) -> Iterable[tuple[int | slice, ...]]:
    """Cut a C-contiguous array along its memory; yield the index of each piece."""
    axis = 0
    while axis < array.ndim and array.strides[axis] > _PIECE_BYTES:
        axis += 1
    if axis == array.ndim:
        yield from np.ndindex(array.shape)
        return
    step = _PIECE_BYTES // max(array.strides[axis], 1)
    for index in np.ndindex(array.shape[:axis]):
        for start in range(0, array.shape[axis], step):
            yield (*index, slice(start, start + step))


def empty(shape: int | Sequence[int], dtype: DTypeLike = "f8", *, order: str = "C") -> SharedArray:
    return SharedArray(shape, dtype, order)


def empty_like(array: ArrayLike, dtype: DTypeLike = None, *, order: str = "K") -> SharedArray:
    prototype = np.asarray(array)
    dtype = prototype.dtype if dtype is None else dtype
    return _allocate(prototype.shape, dtype, _memory_order(prototype, order))


def zeros(shape: int | Sequence[int], dtype: DTypeLike = "f8", *, order: str = "C") -> SharedArray:
    return _clear(empty(shape, dtype, order=order))


def zeros_like(array: ArrayLike, dtype: DTypeLike = None, *, order: str = "K") -> SharedArray:
    return _clear(empty_like(array, dtype, order=order))


def ones(shape: int | Sequence[int], dtype: DTypeLike = "f8", *, order: str = "C") -> SharedArray:
    return full(shape, 1, dtype, order=order)


def ones_like(array: ArrayLike, dtype: DTypeLike = None, *, order: str = "K") -> SharedArray:
    return full_like(array, 1, dtype, order=order)


def full(
    shape: int | Sequence[int], value: ArrayLike, dtype: DTypeLike = "f8", *, order: str = "C"
) -> SharedArray:
    return _fill(empty(shape, dtype, order=order), np.asarray(value))


def full_like(
    array: ArrayLike, value: ArrayLike, dtype: DTypeLike = None, *, order: str = "K"
) -> SharedArray:
    return _fill(empty_like(array, dtype, order=order), np.asarray(value))


def copy(a: ArrayLike, *, order: str = "K") -> SharedArray:
    values = np.asarray(a)
    return _fill(empty_like(values, order=order), values)


def _clear(array: SharedArray) -> SharedArray:
    """Make the pages of a fresh array present; the kernel has zeroed them."""
    segment, _ = describe(array)
    starts = range(0, segment.nbytes, _PIECE_BYTES)
    in_threads(lambda start: segment.populate(start, min(start + _PIECE_BYTES, segment.nbytes)), starts, len(starts))
    return array


anonymousmemmap = SharedArray
