"""Pickle objects, with large buffers and shared arrays out of band."""

from __future__ import annotations

import collections
import copyreg
import ctypes
import functools
import importlib
import io
import operator
import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import segments_noted
from sharedmem.machine.signals import is_from_handler
from sharedmem.memory.memory_files import map_privately, n_mapped, read_all, write_all
from sharedmem.memory.segments import Segment

# Buffers of at least this size are pickled out of band.
OUT_OF_BAND_BYTES = 64 * 1024
# Larger buffers of a result are mapped, smaller ones copied: the mappings of a process are limited.
COPIED_BYTES = 256 * 1024
# While so many results are mapped, all others are copied.
MANY_MAPPINGS = 16 * 1024
_ALIGNMENT = 64


class UnpackingError(RuntimeError):
    """A message has arrived, but its content cannot be unpickled here."""

    def __init__(self, index: int, reason: BaseException) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason


class Parcel(NamedTuple):
    """A pickled object: its stream, its out-of-band buffers, and the segments it refers to."""

    stream: bytes
    buffers: Sequence[memoryview] = ()
    segments: Sequence[Segment] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the stream and the buffers."""
        return len(self.stream) + sum(buffer.nbytes for buffer in self.buffers)


class Reducers(dict[type, Callable[[Any], Any]]):
    """The reducers of a pickler: those of a table, and ours for arrays and rows."""

    def __init__(self, table: Mapping[type, Callable[[Any], Any]]) -> None:
        super().__init__({np.ndarray: _reduce_array})
        self._table = table

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        reducer: Callable[[Any], Any] | None
        try:  # Not by `get`: that of a ChainMap closes a generator, which may lose an interrupt.
            reducer = self._table[kind]
        except KeyError:
            reducer = _row_reducer(kind)
        if reducer is None:
            raise KeyError(kind)
        return without_traceback if kind is TracebackType else reducer


def _reduce_array(array: NDArray[Any]) -> Any:
    # Without out-of-band buffers protocol 5 takes more time and memory to load an array, but keeps
    # its byte order.
    if array.nbytes < OUT_OF_BAND_BYTES and array.dtype.isnative:
        return array.__reduce__()
    reduced: Any = array.__reduce_ex__(5)
    rebuild, (buffer, *rest) = reduced[:2]
    if array.flags.writeable or not isinstance(buffer, pickle.PickleBuffer):
        return reduced
    # A copy is writable even if the original is not, as it is with arrays inside the stream.
    memory: Any = (ctypes.c_byte * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array
    return rebuild, (pickle.PickleBuffer(memory), *rest)


def named(module: str, name: str) -> Any:
    """Return what a module has by a name."""
    return operator.attrgetter(name)(importlib.import_module(module))


def without_traceback(_: TracebackType) -> Any:
    """Reduce a traceback to None, also if tblib, which Dask installs, can pickle it.

    The frames that tblib makes refer to those that unpickle them, which refer to the exception.
    """
    return type(None), ()


def _row_reducer(kind: type) -> Callable[[Any], Any] | None:
    """Return the reducer of a namedtuple whose class cannot be imported by its name, or None.

    ``DataFrame.itertuples`` creates such a class in each call.
    """
    if kind.__bases__ != (tuple,) or not hasattr(kind, "_fields"):
        return None
    if getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
        return None
    made_anew = _row_type(kind.__name__, kind._fields)
    if not vars(kind).keys() <= vars(made_anew).keys():
        return None  # It has methods of its own.
    return lambda row: (_row, (kind.__name__, kind._fields, *row))


@functools.lru_cache(256)
def _row_type(name: str, fields: tuple[str, ...]) -> Any:
    return collections.namedtuple(name, fields, rename=True)


def _row(name: str, fields: tuple[str, ...], *values: object) -> Any:
    return _row_type(name, fields)(*values)


_REDUCERS = Reducers(copyreg.dispatch_table)


def kept_in(buffers: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    """Return a callback for picklers, which keeps large buffers out of the stream, in a list."""

    def is_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    return is_in_band


def pack(value: object) -> Parcel:
    """Pickle `value`, with large buffers and shared arrays out of band; no buffer is copied."""
    buffers: list[memoryview] = []
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 5, buffer_callback=kept_in(buffers))
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
    except BaseException as error:  # SystemExit would end the program without a message.
        if is_from_handler(error):
            raise
        raise UnpackingError(index, error) from error


def _places(n_lengths: int, lengths: Iterable[int]) -> Iterator[int]:
    """Yield the offsets of parts in a file that begins with their lengths, and its size."""
    at = 8 * n_lengths
    for length in lengths:
        at = -(-at // _ALIGNMENT) * _ALIGNMENT
        yield at
        at += length
    yield at


def write_parts(file: int, stream: bytes, buffers: Sequence[memoryview]) -> None:
    """Write the lengths of `buffers`, the stream, and the buffers to an anonymous file."""
    parts = [memoryview(stream), *buffers]
    lengths = [part.nbytes for part in parts]
    # Written and not copied to a mapping, which would fault in each page.
    write_all(file, memoryview(struct.pack(f"={len(buffers)}q", *lengths[1:])), 0)
    for part, at in zip(parts, _places(len(buffers), lengths), strict=False):
        write_all(file, part, at)


def read_parts(file: int, n_stream: int, n_buffers: int) -> tuple[memoryview, list[memoryview]]:
    """Undo `write_parts`; large buffers are mapped privately."""
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
    return stream, buffers
