"""The side of a forked worker in its team."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

from sharedmem.memory import open_files
from sharedmem.workers.batches import Batch, Entry, Results, entry_of
from sharedmem.workers.channel import INLINE_BYTES, Channel, Kind, Message
from sharedmem.workers.failures import Failure, portable
from sharedmem.workers.logs import send_records
from sharedmem.workers.pickling import Parcel, pack
from sharedmem.workers.shown_warnings import send_warnings

# More results are sent at the end of a claim.
_MOST_HELD = 1024


class ProcessPort(Results):
    """The side of a forked worker in its team: where tasks come from and results go.

    Attributes
    ----------
    pack : callable
        Pickles results and failures.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.pack: Callable[[object], Parcel] = pack
        self._channel = channel
        self._batch = Batch(self.pending)
        # Where further runs begin in what is pending: the number of the task, and the place.
        self._runs: list[tuple[int, int]] = []

    def start(self, index: int) -> None:
        """Set the number of the task of the next result."""
        if self.pending:
            self._runs.append((index, len(self.pending)))
        else:
            super().start(index)

    def settle(self) -> None:
        """Send what is pending at the end of a claim, unless it is held."""
        if not self.holds or len(self.pending) > _MOST_HELD:
            self.flush()

    def add(self, result: object) -> None:
        """Add a result that is not of an atomic type."""
        self.put(self.entry(result))

    def entry(self, result: object) -> Entry:
        """Return the present state of a result, which `put` adds."""
        try:
            return entry_of(result, self.pack)
        except BaseException as error:
            error.add_note(
                f"The result, of type {type(result).__name__}, is pickled to reach the "
                "coordinator: return data, or write to a shared array."
            )
            raise

    def put(self, entry: Entry) -> None:
        """Add a result."""
        if self._batch.nbytes + entry.nbytes > INLINE_BYTES:
            self.flush()
        self._batch.add(entry)
        # Segments count in the result window, which limits what is sent, and not what is pending.
        if entry.has_buffers or entry.segments:
            self.flush()

    def _send_run(self, first: int) -> None:
        batch, runs = self._taken()
        if not runs:
            self.sent_bytes += self._channel.send(Kind.RESULTS, first, batch.pack())
            return
        self.sent_bytes += self._channel.send(Kind.RUNS, first, batch.pack(runs))
        index, place = runs[-1]
        self._first = index - place

    def _taken(self) -> tuple[Batch, list[tuple[int, int]]]:
        batch, self._batch = self._batch, Batch(self.pending)
        runs, self._runs = self._runs, []
        return batch, runs

    def answer(self, index: int, parcel: Parcel) -> None:
        """Send results that are pickled already."""
        self._channel.send(Kind.RESULTS, index, parcel)

    def fail(self, index: int, failure: Failure) -> None:
        """Send the failure of task `index`."""
        open_files.flush_output()  # Next, the coordinator kills this process.
        self._channel.send(Kind.FAILURE, index, self.pack(self.portable(failure)))

    def portable(self, failure: Failure) -> Failure:
        """Return a failure in the form in which it can be sent."""
        return portable(failure, self._dumps)

    def _dumps(self, value: object) -> bytes:
        parcel = self.pack(value)
        return pickle.dumps(value) if parcel.buffers else parcel.stream

    def finish(self, note: object = None) -> None:
        """Send that this worker has no more tasks, with a note."""
        if not self.pending:
            self._channel.send(Kind.FINISHED, 0, pack(note))
            return
        batch, runs = self._taken()
        self.sent_bytes += self._channel.send(Kind.LAST, self._first, batch.pack(runs, note))
        self.pending.clear()

    def speak(self, rank: int) -> None:
        """Send what this process, worker `rank`, logs from now on, and its warnings."""

        def say(what: object) -> None:
            # The time by which the coordinator sorts what several workers say.
            self._channel.send(Kind.SAID, time.monotonic_ns(), Parcel(pickle.dumps(what)))

        send_records(say, rank)
        send_warnings(say)

    def receive(self) -> Message | None:
        """Wait for tasks; return None, or a message of no tasks, when there are no more."""
        message = self._channel.receive(block=True)
        self.received_bytes = self._channel.received_bytes
        return message

    def next_job(self) -> Any:
        """Wait for the next call of a worker that stays; return None if there is no other.

        Raises
        ------
        UnpackingError
            If the job cannot be unpickled.
        """
        while (message := self.receive()) and message.kind != Kind.JOB:
            pass  # tasks of a call that has stopped
        return message and message.value

    def begin(self, *, windowed: bool, tolerant: bool) -> None:
        """Begin a call; see :class:`Channel`."""
        self._channel.begin(windowed=windowed, tolerant=tolerant)
