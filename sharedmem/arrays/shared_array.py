"""SharedArray, an ndarray in a segment of shared memory, and the segment of a given array."""

from __future__ import annotations

import contextlib
import errno
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.arrays.small_arrays import get_ready, small_array
from sharedmem.arrays.strides import byte_bounds, root_of
from sharedmem.kernels.loops.layout import address_of
from sharedmem.machine.arguments import check_shape
from sharedmem.machine.tuning import tuning
from sharedmem.memory import fill
from sharedmem.memory.segment_keys import SegmentKey, key_of, open_segment
from sharedmem.memory.segments import Segment, find_segment, is_mapped_shared
from sharedmem.memory.syscalls import memory_error


class Layout(NamedTuple):
    """Place of an array in its segment; offset and strides are in bytes."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    writeable: bool


class _PrivateArray(np.ndarray[Any, np.dtype[Any]]):
    """A SharedArray whose bytes lie in private memory after all; copied and pickled by value.

    NumPy creates such arrays in C, for example in ``np.array(x, subok=True)``.
    """

    __slots__ = ()

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else array

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _plain(result: Any) -> Any:
    """Return a newly allocated array as an ndarray, and anything else unchanged."""
    if type(result) is _PrivateArray:
        return result.view(np.ndarray)
    if type(result) in (tuple, list):
        return type(result)(map(_plain, result))
    return result


class SharedArray(np.ndarray[Any, np.dtype[Any]]):
    """An array in anonymous shared memory, which forked processes read and write in place.

    Views are SharedArrays, too. Operations that allocate memory (arithmetic, ``copy``, ``astype``,
    masks, fancy indexing, reductions) return plain ndarrays in private memory.

    Parameters
    ----------
    shape : int or sequence of ints
        Shape of the array.
    dtype : dtype, optional
        A dtype of fixed size without Python objects, by default float64.
    order : {'C', 'F'}, optional
        Memory layout, by default C order.

    See Also
    --------
    empty : Make an array without initializing its elements.
    copy : Copy an array to shared memory.
    is_shared : Test whether an array is shared.

    Notes
    -----
    Contents are undefined. The memory is freed when the last process drops its last view, or kept
    for another array of this process if no other process knows it.

    A SharedArray is pickled by reference. While the process that pickled it lives, any process of
    the same user on the same machine that loads the pickle gets the same memory. To send or keep
    the values, use ``array.copy()`` or :func:`numpy.save`.

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

    # Like ndarray: with a dict, arrays would take more time of the garbage collector than to make.
    __slots__ = ()

    def __new__(
        cls, shape: int | Sequence[int], dtype: DTypeLike | None = "f8", order: str = "C"
    ) -> SharedArray:
        """Return a new array, as :func:`sharedmem.empty` does."""
        return make(shape, dtype, order)

    def __array_finalize__(self, obj: object) -> None:
        kind = type(self.base)
        if kind is not SharedArray and kind is not Segment and _segment_of(self) is None:
            self.__class__ = _PrivateArray  # type: ignore[assignment]

    __array_wrap__ = _PrivateArray.__array_wrap__

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _plain(super().__array_function__(func, types, args, kwargs))

    def __getitem__(self, key: Any) -> Any:
        return _plain(super().__getitem__(key))

    def __copy__(self) -> Any:
        return self.view(np.ndarray).__copy__()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.view(np.ndarray).__deepcopy__(memo)

    def __reduce__(self) -> Any:
        segment, layout = describe(self)
        if _noted.segments is not None and segment.fd >= 0:
            _noted.segments[segment.identity] = segment
        return _load, (key_of(segment), layout)

    def _repr_html_(self) -> str:
        """Return the figures and a picture, for notebooks."""
        from sharedmem.arrays import pictures  # which few programs need

        return pictures.of_array(self, segment_of(self))

    def __setstate__(self, state: Any) -> None:
        raise TypeError("the memory of a SharedArray cannot be replaced; assign to array[...]")


def _fresh_as_plain(name: str) -> Callable[..., Any]:
    """Return a method of ndarray whose newly allocated results are ndarrays."""
    method = getattr(np.ndarray, name)

    def call(self: SharedArray, *args: Any, **kwargs: Any) -> Any:
        return _plain(method(self, *args, **kwargs))

    call.__name__ = name
    call.__doc__ = f"See :meth:`numpy.ndarray.{name}`; a newly allocated result is a plain ndarray."
    return call


# Methods that allocate in C and keep the subclass.
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
    """Collect the segments of all arrays that this thread pickles in the block, by identity."""
    before, _noted.segments = _noted.segments, {}
    try:
        yield _noted.segments
    finally:
        _noted.segments = before


def note_segments(segments: Iterable[Segment]) -> None:
    """Add to the segments that `segments_noted` collects in this thread, if it does."""
    if _noted.segments is not None:
        _noted.segments.update((segment.identity, segment) for segment in segments)


def segment_of(array: NDArray[Any]) -> Segment:
    """Return the segment of an array."""
    segment = _segment_of(array)
    if segment is None:
        raise ValueError("the array is not in shared memory; use sharedmem.copy(array)")
    return segment


def describe(array: NDArray[Any]) -> tuple[Segment, Layout]:
    """Return the segment of an array and its place there; see :func:`restore`."""
    segment = segment_of(array)
    offset = address_of(array) - segment.address
    if segment.blocks is not None:
        segment.blocks.expose(*_bytes_in(segment, array))
    return segment, Layout(offset, array.shape, array.strides, array.dtype, array.flags.writeable)


def restore(segment: Segment, layout: Layout) -> SharedArray:
    """Return the array at a place in a segment.

    Raises
    ------
    ValueError
        If the array would exceed the segment.
    """
    offset, shape, strides, dtype, writeable = layout
    dtype = check_dtype(dtype)
    if len(shape) != len(strides) or min(shape, default=0) < 0:
        raise ValueError(f"shape {shape} and strides {strides} do not describe an array")
    low, high = byte_bounds(shape, strides, dtype.itemsize)
    if offset + low < 0 or offset + high > segment.nbytes:
        raise ValueError(
            f"an array of shape {shape}, strides {strides}, and dtype {dtype} at offset {offset} "
            f"exceeds its segment of {segment.nbytes} bytes"
        )
    array = np.ndarray.__new__(SharedArray, shape, dtype, segment.buffer, offset, strides)
    array.flags.writeable = writeable
    return array


def populate(array: NDArray[Any]) -> None:
    """Allocate the pages of an array in a segment, as huge pages, before it is written to.

    That is faster than page faults, and costs little if the pages exist. A small array, which may
    lie among others, is left as it is.
    """
    segment = _segment_of(array) if array.nbytes > tuning.arena_bytes else None
    if segment is not None:
        start, stop = _bytes_in(segment, array)
        if stop - start <= 2 * array.nbytes:  # otherwise most pages are those of other arrays
            segment.populate(start, stop)


def is_present(array: NDArray[Any]) -> bool:
    """Return whether all pages of an array exist, so that `populate` has nothing to do."""
    segment = _segment_of(array) if array.nbytes > tuning.arena_bytes else None
    return segment is None or not segment.lacks_pages(*_bytes_in(segment, array))


def _bytes_in(segment: Segment, array: NDArray[Any]) -> tuple[int, int]:
    """Return where the bytes of an array start and stop in its segment."""
    low, high = byte_bounds(array.shape, array.strides, array.itemsize)
    offset = address_of(array) - segment.address
    return offset + low, offset + high


def _load(key: SegmentKey, layout: Layout) -> SharedArray:
    return restore(open_segment(key), layout)


def is_in_segment(array: NDArray[Any]) -> bool:
    """Return whether all elements of an array are in a segment of this process."""
    return _segment_of(array) is not None


def _segment_of(array: NDArray[Any]) -> Segment | None:
    """Return the segment that contains all bytes of an array, or None."""
    # NumPy checks that a view lies inside of its base. Otherwise the address decides.
    base: Any = array.base
    while isinstance(base, np.ndarray):
        if type(base) is Segment:
            return base
        base = base.base
    address = address_of(array)
    low, high = byte_bounds(array.shape, array.strides, array.dtype.itemsize)
    segment = find_segment(address + low, high - low)
    if segment is None and low == high:  # an empty view may start at the end of its segment
        segment = find_segment(address - 1, 0)
    return segment


def check_dtype(dtype: DTypeLike | None) -> np.dtype[Any]:
    """Return a dtype that contains no Python objects."""
    checked = np.dtype(dtype)
    if checked.hasobject:
        raise TypeError(
            f"dtype {checked} contains pointers to Python objects, which are invalid in other "
            f"processes; use a dtype of fixed size"
        )
    return checked


def make(
    shape: int | Sequence[int], dtype: DTypeLike | None, order: str, fill_value: int | None = None
) -> SharedArray:
    """Return a new array, which is filled if `fill_value` is 0.

    If such arrays have been made before, others are made for `ready`.
    """
    sizes = check_shape(shape)
    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F', got {order!r}")
    axes = range(len(sizes))
    array = allocate(sizes, dtype, axes if order == "C" else axes[::-1], zeros=fill_value == 0)
    if type(shape) is int and type(dtype) in (str, type) and array.dtype.kind in "biufc":
        get_ready(fill_value, sizes[0], dtype, array)
    return array


def allocate(
    shape: tuple[int, ...], dtype: DTypeLike | None, axes: Sequence[int], *, zeros: bool = False
) -> SharedArray:
    """Return a new array with `axes` in memory from slowest to fastest.

    With `zeros`, it is filled with zeros.
    """
    dtype = check_dtype(dtype)
    if not dtype.itemsize or dtype.subdtype:
        # NumPy gives 'S' a size of one byte, and a subarray dtype further axes.
        template = np.empty(0, dtype)
        axes = (*axes, *range(len(axes), len(axes) + template.ndim - 1))
        shape, dtype = shape + template.shape[1:], template.dtype
    is_c = len(axes) < 2 or axes == range(len(axes))
    sizes = shape if is_c else tuple(shape[axis] for axis in axes)
    nbytes = math.prod(shape) * dtype.itemsize
    array: SharedArray
    try:
        if nbytes <= tuning.arena_bytes:
            blank = small_array(sizes, dtype, nbytes, zeros=zeros)
            blank.__class__ = SharedArray
            array = blank
        else:
            memory: Any = Segment(nbytes)
            if zeros:
                fill.clear(memory)
            array = np.ndarray.__new__(SharedArray, sizes, dtype, memory)
    except MemoryError as error:
        if error.args:
            raise
        # Python had no memory for its own objects.
        raise memory_error(errno.ENOMEM, nbytes) from None
    return array if is_c else array.transpose(sorted(range(len(sizes)), key=list(axes).__getitem__))


def is_shared_array(array: NDArray[Any]) -> bool:
    """Return whether other processes see writes to an array."""
    if _segment_of(array) is not None:
        return True
    if root_of(array).base is None:  # memory that NumPy has allocated
        return False
    low, high = byte_bounds(array.shape, array.strides, array.itemsize)
    return is_mapped_shared(address_of(array) + low, address_of(array) + high)


anonymousmemmap = SharedArray  # its name in version 0.3
