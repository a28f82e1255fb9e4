"""Teams of threads."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from itertools import chain, islice, repeat
from typing import Any, TypeAlias

from sharedmem.machine.freeing import exhaust, free_with
from sharedmem.machine.signals import signals_held
from sharedmem.workers.batches import Results
from sharedmem.workers.channel import Kind, Message
from sharedmem.workers.deadlines import OverdueError, is_over, remaining
from sharedmem.workers.failures import Failure, exception_of
from sharedmem.workers.process import thread_as_worker

# Messages that a thread may be ahead of the coordinator.
_THREAD_WINDOW = 64


class _Exchange:
    """The queues and flags that a coordinator and its threads share."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[tuple[int, Message]] = queue.SimpleQueue()
        self.stopped = False
        # No thread begins before all have started: it would wait for the turn of one that may not.
        self.gate: queue.SimpleQueue[None] = queue.SimpleQueue()

    def forget(self) -> None:
        """Drop messages that nobody will read, which the frames of a traceback would keep alive."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.messages.get_nowait()


class ThreadPort(Results):
    """The side of a thread in its team; see :class:`ProcessPort`."""

    def __init__(self, exchange: _Exchange, rank: int) -> None:
        super().__init__()
        self.rank = rank
        # A queue and not a semaphore of Python, which an interrupt may leave locked.
        self.window: queue.SimpleQueue[None] = queue.SimpleQueue()
        exhaust(map(self.window.put, repeat(None, _THREAD_WINDOW)))
        self.tasks: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._note: object = None
        self.add = self.pending.append
        self._exchange = exchange

    def run(self, work: _Work) -> None:
        """Do the work of the thread."""
        with thread_as_worker():
            self._exchange.gate.get()
            try:
                work(self.rank, self)
            finally:
                message = Message(Kind.FINISHED, -1, self._note)
                self._exchange.messages.put((self.rank, message))

    def stopping(self) -> Iterator[None]:
        """Return an iterator that lets the thread end, by C functions alone."""
        return chain(
            map(self.window.put, repeat(None, _THREAD_WINDOW)), map(self.tasks.put, (None,))
        )

    def _send_run(self, first: int) -> None:
        self._put(Message(Kind.RESULTS, first, self.pending.copy()))

    def fail(self, index: int, failure: Failure) -> None:
        """Send the failure of task `index`."""
        self._put(Message(Kind.FAILURE, index, failure))

    def _put(self, message: Message) -> None:
        self.window.get()
        self._exchange.messages.put((self.rank, message))
        if self._exchange.stopped:
            self._exchange.forget()

    def finish(self, note: object = None) -> None:
        """Keep a note, which is sent when the thread ends."""
        self._note = note

    def speak(self, rank: int) -> None:
        """Do nothing: in threads, what tasks log is handled where it is."""

    def receive(self) -> Message | None:
        """Wait for tasks; return None, or a message of no tasks, when there are no more."""
        return self.tasks.get()

    def stopped(self) -> bool:
        """Return whether the coordinator accepts no more results."""
        return self._exchange.stopped


_Work: TypeAlias = Callable[[int, ThreadPort], None]


class ThreadTeam:
    """A team of threads, for tasks that release the GIL or must not be forked.

    A thread cannot be killed: after a timeout or Ctrl-C it continues to the end of its task.

    Parameters
    ----------
    n_workers, work, whereabouts, fed, tolerant
        As for :class:`ProcessTeam`.
    """

    def __init__(
        self,
        n_workers: int,
        work: _Work,
        whereabouts: Callable[[int], str],
        *,
        fed: bool,
        tolerant: bool = False,
    ) -> None:
        self.size = n_workers
        self._n_running = n_workers
        self._exchange = exchange = _Exchange()
        self._heard: list[tuple[int, Message]] = []
        self._ports = [ThreadPort(exchange, rank) for rank in range(n_workers)]
        self._threads = [
            # Threads begin with the context variables of the caller, as forked workers do.
            threading.Thread(target=copy_context().run, args=(port.run, work), daemon=True)
            for port in self._ports
        ]
        # An interrupt may come between the start of a team and the block that ends it.
        self._stopping = chain(
            map(setattr, (exchange,), ("stopped",), (True,)),
            map(exchange.gate.put, repeat(None, n_workers)),
            *(port.stopping() for port in self._ports),
        )
        free_with(self, [self._stopping])
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.end(patient=True)
            raise
        exhaust(map(exchange.gate.put, repeat(None, n_workers)))

    def take(self, index: int, items: Iterator[Any], size: int) -> list[Any]:
        """Take tasks from an iterator; see :class:`ProcessTeam`."""
        return list(islice(items, size))

    def send(self, rank: int, index: int, batch: list[Any]) -> int:
        """Give a worker tasks; see :class:`ProcessTeam`."""
        self._ports[rank].tasks.put(Message(Kind.TASKS, index, batch))
        return 0

    def wait(self, deadline: float | None) -> None:
        """Wait for the end of all threads, of a team of one; see :class:`ProcessTeam`."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(remaining(deadline))
                if thread.is_alive() and is_over(deadline):
                    raise OverdueError

    def receive(self, deadline: float | None) -> list[tuple[int, Message]]:
        """Wait for messages; see :class:`ProcessTeam`."""
        if self._n_running == 0:
            for thread in self._threads:
                thread.join()
            return []
        heard, self._heard = self._heard, []
        while not heard:
            try:
                heard.append(self._exchange.messages.get(timeout=remaining(deadline)))
            except queue.Empty:
                if is_over(deadline):
                    raise OverdueError from None
        for _, message in heard:
            if message.kind == Kind.FAILURE:
                raise exception_of(message.value)
            self._n_running -= message.kind == Kind.FINISHED
        return heard

    def acknowledge(self, rank: int, message: Message) -> None:
        """Acknowledge a message; see :class:`ProcessTeam`."""
        self._ports[rank].window.put(None)

    def watch(self) -> None:
        """Raise if a worker has failed; see :class:`ProcessTeam`."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._heard.append(self._exchange.messages.get_nowait())
                message = self._heard[-1][1]
                if message.kind == Kind.FAILURE:
                    raise exception_of(message.value)

    def kill(self) -> None:
        """Do nothing: a thread cannot be killed."""

    def end(self, *, patient: bool) -> None:
        """Accept no more results; `patient` waits for the tasks that run."""
        exhaust(self._stopping)
        with signals_held():
            self._exchange.forget()
            self._heard.clear()
        # When the interpreter exits, threads stop where they are, and a join would never return.
        if patient and not sys.is_finalizing():
            _join(self._threads)
        # Python would lose an interrupt in the callback of a weak reference to a thread.
        with signals_held():
            self._threads.clear()


def _join(threads: list[threading.Thread]) -> None:
    """Wait for threads; the caller gets no reference to one, which it would free too late."""
    for thread in threads:
        if thread.ident is not None:
            thread.join()
