"""How objects are pickled: large buffers and shared arrays apart from the stream."""

from __future__ import annotations

import collections
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
