"""The side of a forked worker in its team."""

from __future__ import annotations

from sharedmem.memory import open_files
from sharedmem.workers.batches import Batch, entry_of
from sharedmem.workers.channel import INLINE_BYTES, Channel, Kind, Message
from sharedmem.workers.failures import Failure, portable
from sharedmem.workers.pickling import pack


class ProcessPort:
    """The side of a forked worker in its team; see :class:`Port`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._first = 0
        self._batch = Batch()
        self.pending = self._batch.entries

    def start(self, index: int) -> None:
        """Declare that the next result is that of task `index`."""
        self._first = index

    def add(self, result: object) -> None:
        """Add a result that is not of an atomic type."""
        try:
            entry = entry_of(result)
        except BaseException as error:
            error.add_note(
                f"The result, of type {type(result).__name__}, is pickled to reach the "
                "coordinator: return data, or write to a shared array."
            )
            raise
        batch = self._batch
        if batch.nbytes + entry.nbytes > INLINE_BYTES:
            self.flush()
        batch.add(entry)
        # Segments count in the result window, which limits what is sent, and not what is pending.
        if batch.has_buffers or batch.segments:
            self.flush()

    def flush(self) -> None:
        """Send pending results."""
        n_results = len(self.pending)
        if n_results:
            self._channel.send(Kind.RESULTS, self._first, self._batch.close())
            self._first += n_results

    def fail(self, index: int, failure: Failure) -> None:
        """Send the failure of task `index`."""
        open_files.flush_output()  # Next, the coordinator kills this process.
        self._channel.send(Kind.FAILURE, index, pack(portable(failure)))

    def finish(self, note: object = None) -> None:
        """Send that this worker has no more tasks, with a note."""
        self._channel.send(Kind.FINISHED, 0, pack(note))

    @property
    def sent_bytes(self) -> int:
        """Bytes of results that have been sent."""
        return self._channel.sent_bytes

    def receive(self) -> Message | None:
        """Wait for tasks; return None when there are no more."""
        message = self._channel.receive(block=True)
        return message if message is not None and message.kind == Kind.TASKS else None

    def stopped(self) -> bool:
        """Return False: a worker that is no longer needed is killed."""
        return False
