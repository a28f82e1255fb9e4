"""Batches: small objects that are pickled and sent together."""

from __future__ import annotations

import copy
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from sharedmem.memory.segments import Segment
from sharedmem.workers.failures import Failure
from sharedmem.workers.pickling import Parcel, UnpackingError, pack, unpack

# Results of these types are immutable and small, so that they may be pickled later and together.
ATOMIC_TYPES = frozenset({int, float, complex, bool, type(None)}) | {
    scalar
    for scalar in np.sctypeDict.values()
    if not issubclass(scalar, (np.object_, np.void, np.str_, np.bytes_))
}
_IMMUTABLE_TYPES = ATOMIC_TYPES | {str, bytes}
_COLLECTIONS = frozenset({tuple, list, dict})
# To look through a longer collection takes longer than to pickle it.
_FEW_ITEMS = 64
_SMALL_BYTES = 1024


class Results(ABC):
    """A collector of the results of a worker, in runs of consecutive tasks.

    Attributes
    ----------
    pending : list
        Small immutable results of the current run.
    sent_bytes : int
        Bytes of results that have been pickled and sent.
    received_bytes : int
        Bytes of pickled items that have been received.
    add : callable
        Adds a result of any type.
    holds : bool
        Whether nobody looks at results before the last one, so that small ones are sent together.
    """

    add: Callable[[Any], None]
    holds = False

    def __init__(self) -> None:
        self.pending: list[Any] = []
        self.sent_bytes = self.received_bytes = 0
        self._first = 0

    def start(self, index: int) -> None:
        """Set the number of the task of the next result."""
        self._first = index

    def flush(self) -> None:
        """Send what is pending."""
        n_results = len(self.pending)
        if n_results:
            self._send_run(self._first)
            self._first += n_results
            self.pending.clear()

    def settle(self) -> None:
        """Send what is pending at the end of a claim, unless it is held."""
        self.flush()

    @abstractmethod
    def _send_run(self, first: int) -> None:
        """Send what is pending, the results of task `first` and the following ones."""

    def portable(self, failure: Failure) -> Failure:
        """Return a failure in the form in which it can be sent."""
        return failure

    def stopped(self) -> bool:
        """Return whether the coordinator wants no more results: it kills processes instead."""
        return False


class Entry(NamedTuple):
    """The state of an object, for a batch.

    Attributes
    ----------
    kept : object
        A copy, or a :class:`Pickled`.
    nbytes : int
        Approximate size in bytes.
    segments : sequence of Segment
        The segments that the object refers to.
    has_buffers : bool
        Whether large buffers are not copied yet, so that its batch must be sent now.
    """

    kept: object
    nbytes: int
    segments: Sequence[Segment] = ()
    has_buffers: bool = False


def snapshot(value: Any) -> Entry | None:
    """Return a copy of a small object; None if it is not small.

    A task may change an object after it has returned it. To copy small objects, and to pickle many
    of them together, is faster than to pickle each.
    """
    kind = type(value)
    if kind is str:
        return Entry(value, len(value))
    if kind is np.ndarray:
        if value.nbytes <= _SMALL_BYTES and not value.dtype.hasobject:
            return Entry(value.copy("K"), value.nbytes)
    elif kind in _COLLECTIONS and len(value) <= _FEW_ITEMS:
        parts = [*value, *value.values()] if kind is dict else value
        if ATOMIC_TYPES.issuperset(map(type, parts)):
            return Entry(copy.copy(value), 8 * len(parts))
        if _IMMUTABLE_TYPES.issuperset(map(type, parts)):
            return Entry(copy.copy(value), sum(map(sys.getsizeof, parts)))
    return None


class Pickled:
    """An object of a batch that was pickled on its own; no other entry is of this type.

    Parameters
    ----------
    stream, buffers
        See :class:`Parcel`.
    """

    __slots__ = ("_buffers", "stream")

    def __init__(self, stream: bytes | memoryview, buffers: Sequence[memoryview] = ()) -> None:
        self.stream = stream
        self._buffers = buffers

    def __reduce_ex__(self, protocol: object) -> Any:
        """Pickle the buffers out of band again."""
        buffers = [pickle.PickleBuffer(buffer) for buffer in self._buffers]
        return Pickled, (pickle.PickleBuffer(self.stream), buffers)

    def unpack(self, index: int) -> Any:
        """Return the object; an error names task `index`."""
        return unpack(index, self.stream, self._buffers)

    def copy(self) -> Pickled:
        """Return the object with buffers of its own."""
        return Pickled(self.stream, [memoryview(bytes(buffer)) for buffer in self._buffers])


def entry_of(value: object, pack: Callable[[object], Parcel] = pack) -> Entry:
    """Return the present state of `value`: the next task, or the iterator, may change it.

    `pack` pickles what is not small.
    """
    if (entry := snapshot(value)) is not None:
        return entry
    parcel = pack(value)
    kept = Pickled(parcel.stream, parcel.buffers)
    return Entry(kept, parcel.nbytes, parcel.segments, bool(parcel.buffers))


class Packable(Protocol):
    """What a team sends to a worker."""

    def pack(self) -> Parcel:
        """Return it, pickled."""
        ...


class Batch:
    """Objects that are sent together; small ones are pickled together.

    Parameters
    ----------
    entries : list
        The objects; those of atomic types are appended directly.

    Attributes
    ----------
    nbytes : int
        Approximate size of the other objects in bytes.
    segments : dict
        The segments that they refer to, by identity.
    """

    def __init__(self, entries: list[Any]) -> None:
        self.entries = entries
        self.nbytes = 0
        self.segments: dict[tuple[int, int], Segment] = {}

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.entries)

    def add(self, entry: Entry) -> None:
        """Add an object."""
        self.entries.append(entry.kept)
        self.nbytes += entry.nbytes
        self.segments.update((segment.identity, segment) for segment in entry.segments)

    def part(self, start: int, stop: int, *before: object) -> Batch:
        """Return a batch of some of the objects, after others of atomic types."""
        part = Batch([*before, *self.entries[start:stop]])
        part.segments = self.segments
        return part

    def keep(self) -> None:
        """Copy buffers that may change, so that the batch may be sent later."""
        self.entries = [entry.copy() if type(entry) is Pickled else entry for entry in self.entries]

    def pack(self, *others: object) -> Parcel:
        """Return all objects as one parcel, perhaps with what is told of them."""
        value = (self.entries, *others) if others else self.entries
        return pack(value)._replace(segments=list(self.segments.values()))


def opened(first: int, entries: list[Any], *, keeps_errors: bool = False) -> list[Any]:
    """Return the objects of a batch; an error names the task, counted from `first`.

    With `keeps_errors`, an `UnpackingError` takes the place of an object.
    """
    if Pickled in map(type, entries):
        open_one = _object_or_error if keeps_errors else Pickled.unpack
        return [
            open_one(entry, first + at) if type(entry) is Pickled else entry
            for at, entry in enumerate(entries)
        ]
    return entries


def _object_or_error(entry: Pickled, index: int) -> Any:
    try:
        return entry.unpack(index)
    except UnpackingError as error:
        return error
