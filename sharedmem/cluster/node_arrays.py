"""Large arrays that the workers of one node share: one copy in memory, mapped by each process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from functools import partial
from pickle import PickleBuffer
from typing import Any, NamedTuple

import numpy as np
from distributed import WorkerPlugin
from distributed.protocol.serialize import (
    deserialize,
    pickle_dumps,
    pickle_loads,
    register_serialization_family,
    serialize,
)
from distributed.spill import SpillBuffer

from sharedmem.arrays.shared_array import segments_noted
from sharedmem.cluster.pickling import by_value
from sharedmem.memory.fill import fill
from sharedmem.memory.memory_files import map_privately, mapped_bytes
from sharedmem.memory.segment_keys import SegmentKey, key_of, open_segment
from sharedmem.memory.segments import Segment
from sharedmem.memory.syscalls import advise

_logger = logging.getLogger("sharedmem")
# Smaller buffers are sent.
LEAST_BYTES = 1 << 20
_ALIGNMENT = 64
# Name of the serializer of Dask, and of the plugin.
NAME = "sharedmem"
_PLAIN = "dask", "pickle"


class _Parcel(NamedTuple):
    """A serialized value whose large buffers lie in a segment that nobody writes to.

    Attributes
    ----------
    task : str or tuple
        The task whose result it is.
    header : dict
        That of Dask's serializer.
    frames : sequence of bytes
        The small buffers.
    spans : sequence of (int, int) or None
        For each buffer, where it starts and stops in the segment; None for a small one.
    segment : Segment
        The segment.
    """

    task: Any
    header: dict[str, Any]
    frames: Sequence[bytes]
    spans: Sequence[tuple[int, int] | None]
    segment: Segment

    def value(self) -> Any:
        """Return a value on the segment; what is written to it stays in this process."""
        memory = map_privately(self.segment.fd, mapped_bytes(self.segment.nbytes))
        small = iter(self.frames)
        value = deserialize(
            self.header,
            [next(small) if span is None else memory[slice(*span)] for span in self.spans],
        )
        self.remember(value)
        return value

    def remember(self, value: object) -> None:
        """Send this parcel in place of `value` as long as that lives, and is of the same task.

        A task may change its input, and return it: the result is the same object, of another task.
        """
        entry = self.task, id(value)
        with contextlib.suppress(TypeError):  # of objects without weak references
            _parcels[entry] = weakref.ref(value, partial(_parcels.pop, entry)), self


# By the task and the identity of the value.
_parcels: dict[tuple[Any, int], tuple[weakref.ref[Any], _Parcel]] = {}
# Values that are being sent to a worker of this node, with their parcels, by the identity.
_Values = dict[int, tuple[Any, _Parcel]]
_outgoing: ContextVar[_Values | None] = ContextVar("outgoing", default=None)


def _dump(value: object) -> tuple[dict[str, Any], list[bytes]]:
    """Serialize a value that is sent as a parcel; Dask tries its other serializers for others."""
    found = (_outgoing.get() or {}).get(id(value))
    if found is None:
        raise NotImplementedError
    task, header, frames, spans, segment = found[1]
    parts = {"task": task, "header": header, "spans": spans, "segment": tuple(key_of(segment))}
    return parts, list(frames)


def _load(parts: dict[str, Any], frames: Sequence[Any]) -> Any:
    try:
        segment = open_segment(SegmentKey(*parts["segment"]))
    except ReferenceError as error:
        # Dask takes it for a lost connection, and asks another worker, or computes the value again.
        raise OSError(str(error)) from error
    content = tuple(map(bytes, frames))
    return _Parcel(parts["task"], parts["header"], content, parts["spans"], segment).value()


register_serialization_family(NAME, _dump, _load)


def _dump_by_value(value: object, context: Any = None) -> tuple[dict[str, Any], list[Any]]:
    """Pickle as Dask does, but arrays in shared memory by value.

    References to them do not hold on other machines, nor on disk, when the array is freed.
    """
    with segments_noted() as noted:
        header, frames = pickle_dumps(value, context=context)
    if noted:
        stream, buffers = by_value(value)
        header["writeable"] = tuple(not buffer.readonly for buffer in buffers)
        frames = [stream, *buffers]
    return header, frames


def _pack(task: Any, value: Any) -> tuple[Any, _Parcel] | None:
    """Copy the large buffers of a result to a segment, if it has any.

    Returns
    -------
    value
        What is kept in place of the result: an array on the segment, or the result itself.
    _Parcel
        What is sent.
    """
    # Dask serializes the items of lists and dicts, which have no weak references, one by one.
    if not type(value).__weakrefoffset__:
        return None
    try:
        parcel = _parcel(task, *serialize(value, serializers=_PLAIN, on_error="raise"))
    except Exception:  # Dask sends it as usual, or reports why that is impossible.
        _logger.info("the result of %s is not put into shared memory", task, exc_info=True)
        return None
    if parcel is None:
        return None
    if type(value) is np.ndarray:
        return parcel.value(), parcel
    parcel.remember(value)
    return value, parcel


def _parcel(task: Any, header: dict[str, Any], frames: Sequence[Any]) -> _Parcel | None:
    buffers = [PickleBuffer(frame).raw() for frame in frames]
    spans: list[tuple[int, int] | None] = [None] * len(buffers)
    end = n_small = 0
    for at, buffer in enumerate(buffers):
        if buffer.nbytes < LEAST_BYTES or isinstance(buffer.obj, bytes):
            n_small += buffer.nbytes
        else:
            spans[at] = end, end + buffer.nbytes
            end += -(-buffer.nbytes // _ALIGNMENT) * _ALIGNMENT
    if not end or n_small >= LEAST_BYTES:
        return None
    segment = Segment(end)
    if segment.fd < 0:
        return None
    content = np.asarray(segment)
    for span, buffer in zip(spans, buffers, strict=True):
        if span is not None:
            fill(segment, content[slice(*span)], np.frombuffer(buffer, np.uint8))
    # Its pages would count twice in this process, which maps them again.
    advise(segment.address, mapped_bytes(end), mmap.MADV_DONTNEED)
    small = [bytes(part) for part, span in zip(buffers, spans, strict=True) if span is None]
    return _Parcel(task, header, small, spans, segment)


class ShareArrays(WorkerPlugin):
    """Plugin of Dask: a large array is once in the memory of a machine, and not once per worker.

    See Also
    --------
    sharedmem.DaskBackend : Pools on the workers of a cluster.

    Notes
    -----
    A worker that another one on the same machine asks for a result copies its arrays of 1 MiB and
    more to shared memory, once, and sends references. This holds for NumPy arrays, and for objects
    that contain them, such as data frames and sparse matrices; not for lists, tuples, and dicts of
    them. Workers on other machines, of other users, and in other containers get copies, as do
    clients.

    Arrays are as writable as those that Dask sends. Pages that a task writes to become private to
    its worker. Results that a worker moves to disk, or sends to another machine, are written in
    full, also where they contain a :class:`sharedmem.SharedArray`. The memory is freed when no
    worker has the array.

    Examples
    --------
    >>> import distributed, sharedmem.dask
    >>> client = distributed.Client(n_workers=1, processes=False, dashboard_address="127.0.0.1:0")
    >>> _ = client.register_plugin(sharedmem.dask.ShareArrays())
    >>> client.close()
    """

    name = NAME
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Answer the requests of other workers; called by Dask."""
        register_serialization_family("pickle", _dump_by_value, pickle_loads)
        if worker.address.startswith("inproc://"):  # whose peers are in the same process
            return
        self._worker = worker
        self._packing = asyncio.Lock()
        # Workers that cannot attach memory of this one.
        self._apart: set[str] = set()
        worker.handlers |= {"get_data": self._get_data, "sharedmem_attach": _attach}

    def teardown(self, worker: Any) -> None:
        """Answer requests as without the plugin; called by Dask."""
        worker.handlers["get_data"] = worker.get_data
        register_serialization_family("pickle", pickle_dumps, pickle_loads)

    async def _get_data(
        self, comm: Any, keys: Sequence[Any], who: str | None = None, serializers: Any = None
    ) -> Any:
        """Answer the request of worker `who`, or of a client."""
        values: _Values = {}
        if who is not None and serializers is None and comm.same_host and who not in self._apart:
            values = await self._packed(keys)
        if not values or not await self._can_attach(who, values):
            return await self._worker.get_data(comm, keys, who, serializers)
        token = _outgoing.set(values)
        try:
            return await self._worker.get_data(comm, keys, who, (NAME, *_PLAIN))
        finally:
            _outgoing.reset(token)
            values.clear()  # Callbacks of the event loop keep the contexts that they were made in.

    async def _packed(self, tasks: Sequence[Any]) -> _Values:
        """Return large results that are in memory, with their parcels."""
        data, states = self._worker.data, self._worker.state.tasks
        kept = data.memory if isinstance(data, SpillBuffer) else data
        values: _Values = {}
        async with self._packing:  # or each of several requests would copy a result
            for task in tasks:
                value = kept.get(task)
                if value is None or (states[task].nbytes or 0) < LEAST_BYTES:
                    continue
                known = _parcels.get((task, id(value)))
                packed = (value, known[1]) if known else await asyncio.to_thread(_pack, task, value)
                # Meanwhile it may have been released, or moved to disk.
                if packed is None or kept.get(task) is not value:
                    continue
                if packed[0] is not value:
                    data[task] = packed[0]
                values[id(packed[0])] = packed
        return values

    async def _can_attach(self, who: Any, values: _Values) -> bool:
        """Return whether a worker can attach the segments of values."""
        segments = [tuple(key_of(parcel.segment)) for _, parcel in values.values()]
        try:
            answer = await self._worker.rpc(who).sharedmem_attach(segments=segments)
        except Exception:  # It is gone, which Dask will notice.
            return False
        if answer is not True:
            self._apart.add(who)
        return answer is True


def _attach(segments: Sequence[Sequence[Any]]) -> bool:
    """Return whether this process can attach segments of another one."""
    try:
        for key in segments:
            open_segment(SegmentKey(*key))
    except (OSError, ReferenceError, MemoryError, ValueError):
        return False
    return True
