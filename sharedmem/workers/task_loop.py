"""The loop of a worker: run the user's function on tasks, and send results and failures."""

from __future__ import annotations

import reprlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sharedmem.errors import StopProcessGroup
from sharedmem.workers.attempts import Attempts
from sharedmem.workers.batches import ATOMIC_TYPES, Results
from sharedmem.workers.failures import describe_failure
from sharedmem.workers.pickling import UnpackingError
from sharedmem.workers.process_port import ProcessPort
from sharedmem.workers.protocols import Port
from sharedmem.workers.sections import WorkerSync
from sharedmem.workers.team_sync import Word

# Tasks whose results have not been sent run once more if the worker dies. So these are sent after
# this time, and after a task that has been in a section, whose effects others may see.
_UNSENT_NS = 20_000_000


def run_claims(
    func: Callable[[Any], Any],
    sequence: Any,
    claims: Iterator[tuple[int, int]],
    sync: WorkerSync,
    port: Results,
) -> bool:
    """Run `func` on the items of `sequence` that this worker claims.

    Returns
    -------
    bool
        Whether a task has raised `StopProcessGroup`.
    """
    for start, stop in claims:
        if port.stopped():
            return False
        sync.claim(start)
        has_stopped = False
        while start < stop:
            try:
                _run(func, items_of(sequence, start, stop), start, sync, port)
            except StopProcessGroup:
                # No other worker can run the tasks that this one has claimed.
                has_stopped = True
            sync.check_released()
            port.settle()
            start = sync.index + 1
        if has_stopped:
            return True
    return False


def items_of(sequence: Any, start: int, stop: int) -> Iterable[Any]:
    """Return the items of tasks `start` to `stop`; iterating fails if one is missing."""
    # To iterate over a slice is faster than to index one by one.
    if type(sequence) in (range, list, tuple):
        items: Sequence[Any] = sequence[start:stop]
        if len(items) == stop - start:
            return items
    # A generator and not map, which would take a StopIteration of the sequence for its end.
    return (sequence[index] for index in range(start, stop))


def by_index(func: Callable[[Any], Any], sequence: Any) -> Callable[[int], Any]:
    """Return `func` of the item at an index, whose errors are those of its task."""
    return lambda index: func(sequence[index])


def run_fed(func: Callable[[Any], Any], sync: WorkerSync, port: Port) -> None:
    """Run `func` on the items that the coordinator sends."""
    while (message := port.receive()) and message.value:
        sync.claim(message.task)
        _run(func, message.value, message.task, sync, port)
        sync.check_released()
        port.flush()
        sync.hand_in(message.task)


def run_batches(attempts: Attempts, sync: WorkerSync, port: ProcessPort) -> None:
    """Run tasks whose items the coordinator sends, in a call that goes on when workers die."""
    sync.team.words[sync.slot + Word.READY] = time.monotonic_ns()
    n_done = 0
    while (message := port.receive()) and message.value:
        sync.n_spent, *items = message.value
        sync.claim(message.task)
        _run_attempts(attempts, items, message.task, sync, port)
        sync.hand_in(n_done)
        n_done += 1


def _run_attempts(
    attempts: Attempts, items: list[Any], start: int, sync: WorkerSync, port: ProcessPort
) -> None:
    words, index_at, began_at = sync.team.words, sync.slot, sync.slot + Word.BEGAN
    port.start(start)
    sent = time.monotonic_ns()
    for index, item in enumerate(items, start):
        now = time.monotonic_ns()
        if sync.has_entered or now - sent > _UNSENT_NS:
            sync.has_entered = False
            port.flush()
            sent = now = time.monotonic_ns()
        words[index_at] = index
        words[began_at] = now
        try:
            if type(item) is UnpackingError:
                raise item.reason
            result = attempts(item)
            entry = None if type(result) in ATOMIC_TYPES else port.entry(result)
        except StopProcessGroup:
            raise
        except BaseException as error:  # of pickling, before the task or after it
            entry = port.entry(attempts.failure(error))
        # To send results may take long, if the coordinator is busy.
        words[began_at] = 0
        if entry is None:
            port.pending.append(result)
        else:
            port.put(entry)
    port.flush()


def _run(
    func: Callable[[Any], Any], items: Iterable[Any], start: int, sync: WorkerSync, port: Results
) -> None:
    words, slot, pending = sync.team.words, sync.slot, port.pending
    index = start
    port.start(start)
    # Published before each item is taken, so that an error in `__getitem__` names its task.
    words[slot] = index
    for item in items:
        result = func(item)
        if type(result) in ATOMIC_TYPES:
            pending.append(result)
        else:
            port.add(result)
        index += 1
        words[slot] = index
    words[slot] = index - 1


def run_to_the_end(run: Callable[[], object], sync: WorkerSync, port: Port) -> None:
    """Call `run`, which runs the tasks of a worker; send its failure, or report and result."""
    result: object = None
    try:
        result = run()
    except StopProcessGroup:
        port.flush()
    except BaseException as error:
        sync.leave_held_critical()
        index = sync.index
        what = f"Task {index}" if index >= 0 else "The initializer"
        port.fail(index, describe_failure(error, f"{what} in worker {sync.rank}"))
        # The coordinator kills processes now. Without `leave` the others wait until then in a
        # barrier: they would fail, too, and the coordinator might receive their failures first.
        if sync.team.has_processes:
            return
    sync.leave()
    port.finish((sync.report(), result))


def item_text(sequence: Any, index: int) -> str:
    """Return a short text for the item of a task, for an error message."""
    try:
        return reprlib.repr(sequence[index])
    except Exception:
        return "an item that cannot be shown"
