"""Hand the calls of an executor to its workers, and settle their futures, in a thread."""

from __future__ import annotations

import contextlib
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from signal import SIGKILL

from sharedmem.errors import DeadWorkerError
from sharedmem.pool.call_queue import Call, CallQueue, SmallCalls, settle
from sharedmem.workers.batches import Batch
from sharedmem.workers.channel import INLINE_BYTES, Kind, Message
from sharedmem.workers.deadlines import OverdueError
from sharedmem.workers.executor_loop import OF_WORKER
from sharedmem.workers.failures import original_of
from sharedmem.workers.process_team import ProcessTeam
from sharedmem.workers.tickets import Tickets

# A worker is sent as many calls ahead as are estimated to take this time, so that it need not wait.
_AHEAD_SECONDS = 0.004
_MOST_AHEAD = 32
# Longer calls count as such, so that one of them is soon forgotten.
_LONG_SECONDS = 0.02
# A worker with more bytes of calls is sent no others, so that its socket is never full: to send
# would be to wait until the worker has done a call.
_FEW_BYTES = INLINE_BYTES // 2
# An idle worker gets calls that wait for another one, if that runs its present call for so long.
_PATIENCE = 0.002
# So many workers may die one after the other before their first call, as when others kill them.
_MOST_FAILED_STARTS = 10


class _Worker:
    """What the dispatcher knows of one worker.

    Attributes
    ----------
    sent : deque of (int, Call)
        The calls that it has not answered, with the numbers of their tickets.
    nbytes : int
        Bytes of these that may lie in its socket.
    since : float
        When it began with the first of them, at the latest.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.sent: deque[tuple[int, Call]] = deque()
        self.nbytes = 0
        self.since = 0.0
        self.is_ready = False
        self._n_calls = 0

    def load(self) -> int:
        """Return the number of calls that it has not answered."""
        return len(self.sent)

    def add(self, calls: list[Call]) -> None:
        """Note that it was sent calls."""
        for number, call in enumerate(calls, self._n_calls):
            self.sent.append((number, call))
            self.nbytes += call.nbytes
        self._n_calls += len(calls)

    def answered(self) -> Call:
        """Return the first call, which it has answered."""
        _, call = self.sent.popleft()
        self.nbytes -= call.nbytes
        return call

    def recalled(self, n_begun: int) -> Iterator[Call]:
        """Yield the calls that it has not begun, the last first."""
        while self.sent and self.sent[-1][0] >= n_begun:
            _, call = self.sent.pop()
            self.nbytes -= call.nbytes
            yield call


class Dispatcher:
    """What the thread of an executor does.

    Parameters
    ----------
    queue : CallQueue
        What it shares with the executor.
    team : ProcessTeam
        The workers, which run :func:`sharedmem.workers.executor_loop.serve`.
    tickets : Tickets
        Those of the workers.
    prepared : callable
        Returns the context in which a worker is started.
    """

    def __init__(
        self,
        queue: CallQueue,
        team: ProcessTeam,
        tickets: Tickets,
        prepared: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._queue = queue
        self._team = team
        self._tickets = tickets
        self._prepared = prepared
        self._workers = [_Worker(rank) for rank in range(team.size)]
        self._call_seconds = _LONG_SECONDS
        self._n_failed_starts = 0
        self._wake_at: float | None = None
        self._waking = select.poll()
        self._waking.register(queue.bell, select.POLLIN)
        self._waking.register(team.fileno(), select.POLLIN)

    def run(self) -> None:
        """Hand out calls until the queue is shut and all are done, or the executor is broken."""
        try:
            self._hand_out()
            while not self._is_done():
                self._wait()
                self._listen()
                self._hand_out()
            self._dismiss()
        except BaseException as error:
            self._fail(f"its dispatcher failed: {error!r}", error)
        finally:
            self._queue.is_over = True
            try:
                self._team.end(patient=True)
            finally:
                self._drop_all()

    def _is_done(self) -> bool:
        queue = self._queue
        if queue.is_killed or queue.failure:
            return True
        if not queue.is_shut or queue.calls or any(worker.sent for worker in self._workers):
            return False
        # Another thread may have been about to submit a call when the queue was shut.
        queue.is_over = True
        if queue.calls:
            queue.is_over = False
        return queue.is_over

    # Sending

    def _hand_out(self) -> None:
        if self._queue.failure:
            return
        while (worker := self._free_worker()) and (calls := self._next_calls(worker)):
            try:
                self._send(worker, calls)
            except Exception as error:  # No memory, or no descriptor, is left.
                for call in calls:
                    settle(call.future.set_exception, error)
        if self._queue.is_cancelled:
            self._queue.cancel()
        self._share()

    def _n_ahead(self) -> int:
        return min(_MOST_AHEAD, int(_AHEAD_SECONDS / self._call_seconds))

    def _free_worker(self) -> _Worker | None:
        """Return the worker with the fewest calls, if it has few enough to get more."""
        worker = min(self._workers, key=_Worker.load)
        if worker.sent and (len(worker.sent) > self._n_ahead() // 2 or worker.nbytes > _FEW_BYTES):
            return None
        return worker

    def _next_calls(self, worker: _Worker) -> list[Call]:
        """Take the calls that a worker gets now: one, or several small ones."""
        queue, n_bytes = self._queue, 0
        calls: list[Call] = []
        share = -(-len(queue.calls) // self._team.size)
        room = min(share, 1 + self._n_ahead() - len(worker.sent))
        while len(calls) < max(1, room) and (call := queue.next()) is not None:
            if not call.begin():
                continue
            n_bytes += call.nbytes
            if calls and (n_bytes > _FEW_BYTES or not call.is_small):
                queue.calls.appendleft(call)
                break
            calls.append(call)
            if not call.is_small:
                break
        return calls

    def _send(self, worker: _Worker, calls: list[Call]) -> None:
        batch = SmallCalls(calls) if calls[0].is_small else calls[0]
        self._team.send(worker.rank, self._tickets.stamp(worker.rank), batch)
        if not worker.sent:
            worker.since = time.perf_counter()
        worker.add(calls)

    def _share(self) -> None:
        """Let idle workers do what waits for a worker that is busy with one call."""
        self._wake_at = None
        busiest = max(self._workers, key=_Worker.load)
        if self._queue.calls or len(busiest.sent) < 2 or all(w.sent for w in self._workers):
            return
        now = time.perf_counter()
        self._wake_at = busiest.since + _PATIENCE
        if self._wake_at <= now:
            self._wake_at = busiest.since = now  # If it is done meanwhile, nothing comes back.
            self._recall(busiest)
            if self._queue.calls:
                self._hand_out()
            else:
                self._wake_at = now + _PATIENCE

    def _recall(self, worker: _Worker) -> None:
        """Put calls that a worker has not begun back into the queue."""
        self._queue.calls.extendleft(worker.recalled(self._tickets.recall(worker.rank)))

    # Receiving

    def _wait(self) -> None:
        """Sleep until the bell rings, a worker sends something, or it is time to share."""
        queue = self._queue
        queue.is_asleep = self._free_worker() is not None
        if not (queue.is_asleep and queue.calls):
            timeout = None
            if self._wake_at is not None:
                timeout = max(0.0, 1000 * (self._wake_at - time.perf_counter()))
            if (queue.bell, select.POLLIN) in self._waking.poll(timeout):
                queue.silence()
        queue.is_asleep = False

    def _listen(self) -> None:
        with contextlib.suppress(OverdueError):
            for rank, message in self._team.receive(deadline=0.0):
                self._hear(self._workers[rank], message)

    def _hear(self, worker: _Worker, message: Message) -> None:
        if message.kind == Kind.DIED:
            self._replace(worker, message.value)
        elif message.task != OF_WORKER:
            call = worker.answered()
            now = time.perf_counter()
            seconds = min(now - worker.since, _LONG_SECONDS)
            self._call_seconds += (seconds - self._call_seconds) / 8
            worker.since = now
            if message.kind == Kind.FAILURE:
                settle(call.future.set_exception, original_of(message.value))
            else:
                settle(call.future.set_result, message.value.pop())
        elif message.kind == Kind.FAILURE:
            self._fail("the initializer failed in a worker", original_of(message.value))
        elif message.kind == Kind.RESULTS:
            worker.is_ready = True
            self._n_failed_starts = 0

    def _replace(self, worker: _Worker, death: DeadWorkerError) -> None:
        """Start a worker in place of one that has died, and lose only the call that it ran."""
        if self._queue.failure:
            return
        lost = self._lost_call(worker)
        if lost is not None:
            error = DeadWorkerError(f"{death} It ran {lost.name}.", death.exitcode)
            settle(lost.future.set_exception, error)
        self._n_failed_starts += 1
        if self._n_failed_starts > _MOST_FAILED_STARTS:
            self._fail("workers die as they start", death)
            return
        self._tickets.renew(worker.rank)
        self._workers[worker.rank] = _Worker(worker.rank)
        with self._prepared():
            self._team.replace(worker.rank)

    def _lost_call(self, worker: _Worker) -> Call | None:
        """Put the calls of a dead worker back into the queue, except the one that it ran."""
        n_sent = len(worker.sent)
        self._recall(worker)
        if worker.sent:
            return worker.sent.popleft()[1]
        # It may have died as it unpickled the first of them, which must not kill worker by worker.
        first = next(iter(self._queue.calls), None) if worker.is_ready and n_sent else None
        if first is None or not first.is_suspect:
            if first is not None:
                first.is_suspect = True
            return None
        return self._queue.next()

    # The end

    def _dismiss(self) -> None:
        """Wait until the workers have ended in order."""
        if self._queue.is_killed or self._queue.failure:
            return
        for rank in range(self._team.size):
            self._team.send(rank, 0, Batch([]))
        while not self._queue.is_killed:
            try:
                if not self._team.receive(deadline=0.0):
                    return
            except OverdueError:
                self._waking.poll()
                self._queue.silence()

    def _fail(self, reason: str, cause: BaseException) -> None:
        self._queue.cause = cause
        self._queue.failure = f"{reason}: {type(cause).__name__}: {cause}"

    def _drop_all(self) -> None:
        """Settle the futures of all calls that are not done."""
        queue = self._queue
        calls = [call for worker in self._workers for _, call in worker.sent]
        calls += iter(queue.next, None)
        for call in calls:
            error: Exception
            if queue.failure:
                error = BrokenExecutor(f"{call.name} was not run, since {queue.failure}")
                error.__cause__ = queue.cause
            elif call.cancel():
                continue
            else:
                error = DeadWorkerError(f"{call.name} was ended by kill_workers().", -SIGKILL)
            if call.begin():
                settle(call.future.set_exception, error)
