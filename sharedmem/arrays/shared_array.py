"""SharedArray: the ndarray that lies in a segment, and all that finds out whether one does."""

from __future__ import annotations

import contextlib
import math
import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.memory.segment_keys import SegmentKey, key_of, open_segment
from sharedmem.memory.segments import Segment, find_segment, is_mapped_shared


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

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else array

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
    while the process that pickled it lives, it is the same memory; ``array.copy()`` is a copy to
    send, and to keep: a pickle in a file is of no use later, :func:`numpy.save` is. The memory is
    freed when the last process has dropped its last view.

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
        cls, shape: int | Sequence[int], dtype: DTypeLike | None = "f8", order: str = "C"
    ) -> SharedArray:
        """Make a new array, as :func:`sharedmem.empty` does."""
        sizes = _check_shape(shape)
        axes = range(len(sizes))
        if order not in ("C", "F"):
            raise ValueError(f"order must be 'C' or 'F', not {order!r}")
        return allocate(sizes, dtype, axes if order == "C" else axes[::-1])

    def __array_finalize__(self, obj: object) -> None:
        # A base that is a SharedArray contains this view: NumPy checks the bounds. All else
        # is decided by the address.
        if type(self.base) is not SharedArray and _segment_of(self) is None:
            self.__class__ = _PrivateArray  # type: ignore[assignment]

    __array_wrap__ = _PrivateArray.__array_wrap__

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _plain(super().__array_function__(func, types, args, kwargs))

    def __getitem__(self, key: Any) -> Any:
        return _plain(super().__getitem__(key))

    def __copy__(self) -> NDArray[Any]:  # type: ignore[override]  # a copy is private
        return self.view(np.ndarray).__copy__()

    def __deepcopy__(  # type: ignore[override]  # a copy is private
        self, memo: dict[int, Any] | None
    ) -> NDArray[Any]:
        return self.view(np.ndarray).__deepcopy__(memo)

    def __reduce__(self) -> Any:
        segment, layout = describe(self)
        if _noted.segments is not None and segment.fd >= 0:
            _noted.segments[segment.identity] = segment
        return _load, (key_of(segment), layout)

    def __setstate__(self, state: Any) -> None:
        raise TypeError("the memory of a SharedArray cannot be exchanged; assign to array[...]")


def _fresh_as_plain(name: str) -> Callable[..., Any]:
    """Return the method of ndarray with fresh results as ndarrays."""
    method = getattr(np.ndarray, name)

    def call(self: SharedArray, *args: Any, **kwargs: Any) -> Any:
        return _plain(method(self, *args, **kwargs))

    call.__name__ = name
    call.__doc__ = f"Do what :meth:`numpy.ndarray.{name}` does; fresh memory is a plain ndarray."
    return call


# The methods that allocate in C and keep the subclass.
_ALLOCATING = (
    *("argmax", "argmin", "argpartition", "argsort", "astype", "byteswap", "choose", "compress"),
    *("copy", "diagonal", "dot", "flatten", "nonzero", "ravel", "repeat", "reshape"),
    *("searchsorted", "take", "trace"),
)
for _name in _ALLOCATING:
    setattr(SharedArray, _name, _fresh_as_plain(_name))


class _Noted(threading.local):
    segments: dict[tuple[int, int], Segment] | None = None


_noted = _Noted()


@contextlib.contextmanager
def segments_noted() -> Iterator[dict[tuple[int, int], Segment]]:
    """Note the segments of all arrays that this thread pickles in the block, by identity."""
    before, _noted.segments = _noted.segments, {}
    try:
        yield _noted.segments
    finally:
        _noted.segments = before


def describe(array: NDArray[Any]) -> tuple[Segment, Layout]:
    """Return the segment that an array lies in and how it lies there; see :func:`restore`."""
    segment = _segment_of(array)
    if segment is None:
        raise ValueError("the array lies in no segment; copy it by sharedmem.copy first")
    offset = address_of(array) - segment.address
    return segment, Layout(offset, array.shape, array.strides, array.dtype, array.flags.writeable)


def restore(segment: Segment, layout: Layout) -> SharedArray:
    """Return the array of this layout in a segment.

    Raises
    ------
    ValueError
        The layout does not lie inside of the segment.
    """
    offset, shape, strides, _, writeable = layout
    dtype = check_dtype(layout.dtype)
    if len(shape) != len(strides) or min(shape, default=0) < 0:
        raise ValueError(f"no array has shape {shape} and strides {strides}")
    low, high = _extent(shape, strides, dtype.itemsize)
    if offset + low < 0 or offset + high > segment.nbytes:
        raise ValueError(
            f"an array of shape {shape}, strides {strides} and type {dtype} at offset {offset} "
            f"lies outside of its segment of {segment.nbytes} bytes"
        )
    array = _view(segment, shape, dtype, offset, strides)
    array.flags.writeable = writeable
    return array


def populate(array: NDArray[Any]) -> None:
    """Make the pages of an array in a segment present, as huge pages, before it is written to.

    That is 3 x faster than to write to pages that are not there; if they are, it takes 5 us.
    """
    segment = _segment_of(array) if array.size else None
    if segment is not None:
        start, stop = _bytes_in(segment, array)
        if stop - start <= 2 * array.nbytes:  # else it touches what others write
            segment.populate(start, stop)


def is_present(array: NDArray[Any]) -> bool:
    """Say whether :func:`populate` would do nothing."""
    segment = _segment_of(array)
    return segment is None or not segment.lacks_pages(*_bytes_in(segment, array))


def _bytes_in(segment: Segment, array: NDArray[Any]) -> tuple[int, int]:
    """Return where the bytes of an array begin and end in its segment."""
    low, high = _extent(array.shape, array.strides, array.itemsize)
    offset = address_of(array) - segment.address
    return offset + low, offset + high


def _load(key: SegmentKey, layout: Layout) -> SharedArray:
    return restore(open_segment(key), Layout(*layout))


def _view(
    segment: Segment,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
) -> SharedArray:
    return np.ndarray.__new__(SharedArray, shape, dtype, segment.buffer, offset, strides)


def address_of(array: NDArray[Any]) -> int:
    """Return where the first element of an array is."""
    return array.ctypes.data


def _extent(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> tuple[int, int]:
    """Return where the bytes of an array begin and end, relative to its first element."""
    if 0 in shape:
        return 0, 0
    low = high = 0
    for size, stride in zip(shape, strides, strict=True):
        span = (size - 1) * stride
        low += min(span, 0)
        high += max(span, 0)
    return low, high + itemsize


def _segment_of(array: NDArray[Any]) -> Segment | None:
    """Return the live segment that contains all bytes of an array, if there is one."""
    address = address_of(array)
    low, high = _extent(array.shape, array.strides, array.dtype.itemsize)
    segment = find_segment(address + low, high - low)
    if segment is None and low == high:  # an empty view may stand at the very end
        segment = find_segment(address - 1, 0)
    return segment


def _check_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape as a tuple; refuse what is no shape."""
    sizes = shape if isinstance(shape, Iterable) else (shape,)
    try:
        checked = tuple(map(operator.index, sizes))
    except TypeError:
        raise TypeError(f"a shape is an integer or several of them, got {shape!r}") from None
    if min(checked, default=0) < 0:
        raise ValueError(f"negative dimensions are not allowed: shape {checked}")
    return checked


def check_dtype(dtype: DTypeLike | None) -> np.dtype[Any]:
    """Return the dtype; refuse one that holds Python objects."""
    checked = np.dtype(dtype)
    if checked.hasobject:
        raise TypeError(
            f"an array of type {checked} holds pointers to Python objects, which mean nothing in "
            f"another process; use a type of fixed size"
        )
    return checked


def allocate(shape: tuple[int, ...], dtype: DTypeLike | None, axes: Sequence[int]) -> SharedArray:
    """Return a fresh array whose memory runs through `axes`, the last one fastest."""
    # NumPy gives 'S' a size of one byte, and a subarray type further axes.
    template = np.empty(0, check_dtype(dtype))
    axes = (*axes, *range(len(axes), len(axes) + template.ndim - 1))
    shape += template.shape[1:]
    segment = Segment(math.prod(shape) * template.itemsize)
    array = _view(segment, [shape[axis] for axis in axes], template.dtype)
    return array.transpose(sorted(range(len(axes)), key=axes.__getitem__))


def memory_order(array: NDArray[Any], order: str) -> Sequence[int]:
    """Return the axes of an array from slowest to fastest, as NumPy reads `order`."""
    if order not in ("C", "F", "A", "K"):
        raise ValueError(f"order must be one of 'C', 'F', 'A' or 'K', not {order!r}")
    axes = range(array.ndim)
    if order == "F" or (order in "AK" and array.flags.fnc):
        return axes[::-1]
    if order == "K" and not array.flags.c_contiguous:
        return sorted(axes, key=lambda axis: -abs(array.strides[axis]))
    return axes


def is_shared(x: Any) -> bool:
    """Return whether what is written to an array reaches other processes.

    Parameters
    ----------
    x : object
        Any array.

    Returns
    -------
    bool
        True for arrays in shared memory: a :class:`SharedArray` and its views, a
        :class:`numpy.memmap` opened with mode ``'r+'`` or ``'w+'``, and (on Linux) any other array
        in a writable shared mapping. False for private memory, for a memmap of mode
        ``'r'``, which no one can write to, or ``'c'``, and for what is no ndarray.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> a = sharedmem.zeros(3)
    >>> sharedmem.is_shared(a), sharedmem.is_shared(np.asarray(a)), sharedmem.is_shared(a + 1)
    (True, True, False)
    """
    if not isinstance(x, np.ndarray):
        return False
    if _segment_of(x) is not None:
        return True
    owner: Any = x
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if owner is None:  # NumPy has allocated it
        return False
    low, high = _extent(x.shape, x.strides, x.itemsize)
    return is_mapped_shared(address_of(x) + low, address_of(x) + high)


anonymousmemmap = SharedArray
