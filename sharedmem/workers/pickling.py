"""How objects are pickled: large buffers and shared arrays apart from the stream."""

from __future__ import annotations

import collections
import copy
import copyreg
import ctypes
import functools
import io
import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import segments_noted
from sharedmem.memory.memory_files import (
    anonymous_file,
    map_privately,
    n_mapped,
    read_all,
    write_all,
)
from sharedmem.memory.segments import Segment
from sharedmem.workers.failures import is_from_handler

# Buffers from this size on are kept out of the stream.
MAPPED_BYTES = 64 * 1024
# What is larger is mapped where it lies; less is copied, since a process has 65,530 mappings. To
# map and to copy 256 KiB take 37 and 27 us, and 22 and 158 where memory is not used again.
COPIED_BYTES = 256 * 1024
# While so many results are mapped, all others are copied.
MANY_MAPPINGS = 16 * 1024
_ALIGNMENT = 64

# Results of these types are immutable and small, so that they may be pickled later, many at once.
ATOMIC_TYPES = frozenset({int, float, complex, bool, type(None)}) | {
    scalar
    for scalar in np.sctypeDict.values()
    if not issubclass(scalar, (np.object_, np.void, np.str_, np.bytes_))
}
_IMMUTABLE_TYPES = ATOMIC_TYPES | {str, bytes}
_COLLECTIONS = frozenset({tuple, list, dict})
# What is larger takes longer to look through than to pickle.
_FEW_ITEMS = 64
_SMALL_BYTES = 1024


class UnpackingError(RuntimeError):
    """A message arrived whole, but what it holds cannot be unpickled here."""

    def __init__(self, index: int, reason: BaseException) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason


class Parcel(NamedTuple):
    """A pickled object: its stream, the buffers kept out of it, the segments that it refers to."""

    stream: bytes
    buffers: Sequence[memoryview] = ()
    segments: Sequence[Segment] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the stream and the buffers."""
        return len(self.stream) + sum(buffer.nbytes for buffer in self.buffers)


class _Reducers(dict[type, Callable[[Any], Any]]):
    """How a pickler reduces objects: with what is registered for all, but for arrays and rows."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        reducer = copyreg.dispatch_table.get(kind) or _row_reducer(kind)
        if reducer is None:
            raise KeyError(kind)
        return reducer


def _reduce_array(array: NDArray[Any]) -> Any:
    # Protocol 5 takes a third longer, and twice the memory, to load an array that stays in the
    # stream: 494 ms for 16 lists of 10,000 arrays, 304 ms like this.
    if array.nbytes < MAPPED_BYTES:
        return array.__reduce__()
    reduced: Any = array.__reduce_ex__(5)
    rebuild, (buffer, *rest) = reduced[:2]
    if array.flags.writeable or not isinstance(buffer, pickle.PickleBuffer):
        return reduced
    # A copy is writable, whatever the original is, as those are that stay in the stream.
    memory: Any = (ctypes.c_byte * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array
    return rebuild, (pickle.PickleBuffer(memory), *rest)


def _row_reducer(kind: type) -> Callable[[Any], Any] | None:
    """Return how to reduce a namedtuple whose class no module has by its name; else None.

    Those of ``DataFrame.itertuples`` are of a class that is made for the call.
    """
    if kind.__bases__ != (tuple,) or not hasattr(kind, "_fields"):
        return None
    if getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
        return None
    made_anew = _row_type(kind.__name__, kind._fields)
    if not vars(kind).keys() <= vars(made_anew).keys():
        return None  # it has methods of its own
    return lambda row: (_row, (kind.__name__, kind._fields, *row))


@functools.lru_cache(256)
def _row_type(name: str, fields: tuple[str, ...]) -> Any:
    return collections.namedtuple(name, fields, rename=True)


def _row(name: str, fields: tuple[str, ...], *values: object) -> Any:
    return _row_type(name, fields)(*values)


_REDUCERS = _Reducers({np.ndarray: _reduce_array})


def pack(value: object) -> Parcel:
    """Pickle `value`, large buffers and shared arrays apart; the buffers are not copied yet."""
    buffers: list[memoryview] = []

    def keep_apart(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < MAPPED_BYTES:
            return True
        buffers.append(raw)
        return False

    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 5, buffer_callback=keep_apart)
    pickler.dispatch_table = _REDUCERS
    with segments_noted() as segments:
        pickler.dump(value)
    return Parcel(stream.getvalue(), buffers, list(segments.values()))


def snapshot(value: Any) -> tuple[object, int] | None:
    """Return what may be pickled later in place of `value`, and about how many bytes it has.

    A task may change what it has returned. To copy a small result, and to pickle many of them at
    once, takes a third of the time of pickling each; None says that this one is not of that sort.
    """
    kind = type(value)
    if kind is str:
        return value, len(value)
    if kind is np.ndarray:
        if value.nbytes <= _SMALL_BYTES and not value.dtype.hasobject:
            return value.copy("K"), value.nbytes
    elif kind in _COLLECTIONS and len(value) <= _FEW_ITEMS:
        parts = [*value, *value.values()] if kind is dict else value
        if ATOMIC_TYPES.issuperset(map(type, parts)):
            return copy.copy(value), 8 * len(parts)
        if _IMMUTABLE_TYPES.issuperset(map(type, parts)):
            return copy.copy(value), sum(map(sys.getsizeof, parts))
    return None


def unpack(index: int, stream: bytes | memoryview, buffers: Iterable[memoryview] = ()) -> Any:
    """Undo `pack`; an error names task `index`."""
    try:
        return pickle.loads(stream, buffers=buffers)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit would end the program without a word.
        if is_from_handler(error):
            raise
        raise UnpackingError(index, error) from error


class Pickled:
    """An object of a batch that was pickled on its own; no other entry is of this type.

    Parameters
    ----------
    stream, buffers
        As of a :class:`Parcel`.
    """

    __slots__ = ("_buffers", "stream")

    def __init__(self, stream: bytes | memoryview, buffers: Sequence[memoryview] = ()) -> None:
        self.stream = stream
        self._buffers = buffers

    def __reduce_ex__(self, protocol: object) -> Any:
        """Pickle by buffers, so that large ones are kept apart once more."""
        buffers = [pickle.PickleBuffer(buffer) for buffer in self._buffers]
        return Pickled, (pickle.PickleBuffer(self.stream), buffers)

    def unpack(self, index: int) -> Any:
        """Return the object; an error names task `index`."""
        return unpack(index, self.stream, self._buffers)


class Entry(NamedTuple):
    """An object as it was, to be put into a batch.

    Attributes
    ----------
    kept : object
        A copy, or a :class:`Pickled`.
    nbytes : int
        About how many bytes it has.
    segments : sequence of Segment
        Those that it refers to.
    has_buffers : bool
        Whether large buffers are not copied yet.
    """

    kept: object
    nbytes: int
    segments: Sequence[Segment] = ()
    has_buffers: bool = False


def entry_of(value: object) -> Entry:
    """Return `value` as it is now: the next task, or the iterator, may use its buffer again."""
    taken = snapshot(value)
    if taken is not None:
        return Entry(*taken)
    parcel = pack(value)
    kept = Pickled(parcel.stream, parcel.buffers)
    return Entry(kept, parcel.nbytes, parcel.segments, bool(parcel.buffers))


class Batch:
    """Objects that travel together; small ones are pickled many at once.

    Attributes
    ----------
    entries : list
        Takes objects of atomic types directly.
    nbytes : int
        About how many bytes the other objects have.
    segments : dict
        The segments that they refer to, by identity.
    has_buffers : bool
        Whether large buffers are not copied yet, so that the batch has to be sent now.
    """

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._reset()

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.entries)

    def _reset(self) -> None:
        self.nbytes = 0
        self.segments: dict[tuple[int, int], Segment] = {}
        self.has_buffers = False

    def add(self, entry: Entry) -> None:
        """Take one more object."""
        self.entries.append(entry.kept)
        self.nbytes += entry.nbytes
        if entry.segments:
            self.segments.update((segment.identity, segment) for segment in entry.segments)
        self.has_buffers |= entry.has_buffers

    def close(self) -> Parcel:
        """Return all as one parcel, and begin anew."""
        parcel = pack(self.entries)._replace(segments=list(self.segments.values()))
        self.entries.clear()
        self._reset()
        return parcel


def opened(first: int, entries: list[Any]) -> list[Any]:
    """Return the objects of a batch; an error names the task, counted from `first`."""
    if Pickled in map(type, entries):
        return [
            entry.unpack(first + at) if type(entry) is Pickled else entry
            for at, entry in enumerate(entries)
        ]
    return entries


def _places(n_lengths: int, lengths: Iterable[int]) -> Iterator[int]:
    """Yield where parts begin in a file, after their lengths, and where the file ends."""
    at = 8 * n_lengths
    for length in lengths:
        at = -(-at // _ALIGNMENT) * _ALIGNMENT
        yield at
        at += length
    yield at


def store(stream: bytes, buffers: Sequence[memoryview]) -> int:
    """Put the lengths of `buffers`, the stream and the buffers into a new anonymous file."""
    parts = [memoryview(stream), *buffers]
    lengths = [part.nbytes for part in parts]
    # Pages come faster by writing than by touching them: 16 results of 32 MiB from two workers take
    # 155 ms, and 237 ms where they are copied to huge pages.
    file = anonymous_file("sharedmem-result")
    try:
        write_all(file, memoryview(struct.pack(f"={len(buffers)}q", *lengths[1:])), 0)
        for part, at in zip(parts, _places(len(buffers), lengths), strict=False):
            write_all(file, part, at)
    except BaseException:
        os.close(file)
        raise
    return file


def read_parts(file: int, index: int, n_stream: int, n_buffers: int) -> Any:
    """Undo `pack` and `store`; large buffers stay where they are, mapped privately."""
    nbytes = os.fstat(file).st_size
    if not 0 <= n_stream <= nbytes or not 0 <= 8 * n_buffers <= nbytes:
        raise ValueError(f"a file of {nbytes} bytes does not hold {n_buffers} buffers")
    lengths = n_stream, *struct.unpack(f"={n_buffers}q", read_all(file, 8 * n_buffers, 0))
    *places, end = _places(n_buffers, lengths)
    if min(lengths) < 0 or end != nbytes:
        raise ValueError(f"a file of {nbytes} bytes does not hold parts up to {end}")
    is_mapped = max(lengths) > COPIED_BYTES and n_mapped() < MANY_MAPPINGS
    content = map_privately(file, nbytes) if is_mapped else memoryview(b"")
    stream, *buffers = (
        content[at : at + length]
        if is_mapped and length > COPIED_BYTES
        else read_all(file, length, at)
        for length, at in zip(lengths, places, strict=True)
    )
    return unpack(index, stream, buffers)
