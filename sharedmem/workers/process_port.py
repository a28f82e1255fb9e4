"""The side of a forked worker in its team."""

from __future__ import annotations

from sharedmem.memory import open_files
from sharedmem.workers.batches import Batch, Results, entry_of
from sharedmem.workers.channel import INLINE_BYTES, Channel, Kind, Message
from sharedmem.workers.failures import Failure, portable
from sharedmem.workers.pickling import pack


class ProcessPort(Results):
    """The side of a forked worker in its team: where tasks come from and results go."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._batch = Batch(self.pending)

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
        if self._batch.nbytes + entry.nbytes > INLINE_BYTES:
            self.flush()
        self._batch.add(entry)
        # Segments count in the result window, which limits what is sent, and not what is pending.
        if entry.has_buffers or entry.segments:
            self.flush()

    def _send_run(self, first: int) -> None:
        batch, self._batch = self._batch, Batch(self.pending)
        self.sent_bytes += self._channel.send(Kind.RESULTS, first, batch.pack())

    def fail(self, index: int, failure: Failure) -> None:
        """Send the failure of task `index`."""
        open_files.flush_output()  # Next, the coordinator kills this process.
        self._channel.send(Kind.FAILURE, index, pack(portable(failure)))

    def finish(self, note: object = None) -> None:
        """Send that this worker has no more tasks, with a note."""
        self._channel.send(Kind.FINISHED, 0, pack(note))

    def receive(self) -> Message | None:
        """Wait for tasks; return None, or a message of no tasks, when there are no more."""
        message = self._channel.receive(block=True)
        self.received_bytes = self._channel.received_bytes
        return message
