"""A forked worker's side of its team."""

from __future__ import annotations

from sharedmem.memory import open_files
from sharedmem.workers.batches import Batch, entry_of
from sharedmem.workers.channel import INLINE_BYTES, Channel, Kind, Message
from sharedmem.workers.failures import Failure, portable
from sharedmem.workers.pickling import pack


class ProcessPort:
    """A forked worker's side of its team."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._first = 0
        self._batch = Batch()
        self.pending = self._batch.entries

    def start(self, index: int) -> None:
        """Say that the next result is that of task `index`."""
        self._first = index

    def add(self, result: object) -> None:
        """Take a result that is not of an atomic type."""
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
        # Segments count in the result window, which bounds what is sent and not what waits here.
        if batch.has_buffers or batch.segments:
            self.flush()

    def flush(self) -> None:
        """Send what is pending."""
        n_results = len(self.pending)
        if n_results:
            self._channel.send(Kind.RESULTS, self._first, self._batch.close())
            self._first += n_results

    def fail(self, index: int, failure: Failure) -> None:
        """Tell that task `index` has failed."""
        open_files.flush_output()  # Next, the coordinator kills this process.
        self._channel.send(Kind.FAILURE, index, pack(portable(failure)))

    def finish(self, note: object = None) -> None:
        """Tell that this worker has no more tasks, and what else it has to say."""
        self._channel.send(Kind.FINISHED, 0, pack(note))

    @property
    def sent_bytes(self) -> int:
        """Bytes of results that have been sent."""
        return self._channel.sent_bytes

    def receive(self) -> Message | None:
        """Wait for tasks; None when there are no more."""
        message = self._channel.receive(block=True)
        return message if message is not None and message.kind == Kind.TASKS else None

    def stopped(self) -> bool:
        """Say False: a worker that is no longer wanted is killed."""
        return False
