"""What a worker does: run the user's function on tasks, and tell of results and failures."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sharedmem.errors import StopProcessGroup
from sharedmem.workers.batches import ATOMIC_TYPES
from sharedmem.workers.failures import describe_failure
from sharedmem.workers.protocols import Port, Results
from sharedmem.workers.sections import WorkerSync


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
        Whether a task has asked for this worker's end.
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
                # Nobody else can do what this worker has claimed, so that comes before its end.
                has_stopped = True
            port.flush()
            start = sync.index + 1
        if has_stopped:
            return True
    return False


def items_of(sequence: Any, start: int, stop: int) -> Iterable[Any]:
    """Return the items of tasks `start` to `stop`: all of them, or iterating fails."""
    # To iterate over a slice takes a quarter less time than to index one by one.
    if type(sequence) in (range, list, tuple):
        items: Sequence[Any] = sequence[start:stop]
        if len(items) == stop - start:
            return items
    # Of a generator, and not map: a StopIteration from the sequence must not pass for its end.
    return (sequence[index] for index in range(start, stop))


def run_fed(func: Callable[[Any], Any], sync: WorkerSync, port: Port) -> None:
    """Run `func` on the items that the coordinator sends."""
    while (message := port.receive()) is not None:
        sync.claim(message.task)
        _run(func, message.value, message.task, sync, port)
        port.flush()
        sync.hand_in(message.task)


def _run(
    func: Callable[[Any], Any], items: Iterable[Any], start: int, sync: WorkerSync, port: Results
) -> None:
    words, slot, pending = sync.team.words, sync.slot, port.pending
    index = start
    port.start(start)
    # Published before each item is taken, so that a failing `__getitem__` is named, too.
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


def run_to_the_end(
    run: Callable[[], None], sync: WorkerSync, port: Port, note: Callable[[], object]
) -> None:
    """Run a worker's tasks, and tell the coordinator how that ended, with a last note."""
    try:
        run()
    except StopProcessGroup:
        port.flush()
    except BaseException as error:
        index = sync.index
        what = f"Task {index}" if index >= 0 else "The initializer"
        port.fail(index, describe_failure(error, f"{what} in worker {sync.rank}"))
        # Processes are killed now. Until then the others wait: a barrier that this worker does not
        # come to would make them fail too, and the coordinator might hear of that first.
        if sync.team.has_processes:
            return
    sync.leave()
    port.finish(note())


def item_text(sequence: Any, index: int) -> str:
    """Return a short text for the item of a task, for an error."""
    try:
        return reprlib.repr(sequence[index])
    except Exception:
        return "an item that cannot be shown"
