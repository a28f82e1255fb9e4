"""What a worker does: run the user's function on tasks, and tell of results and failures."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from sharedmem.errors import StopProcessGroup
from sharedmem.failures import describe_failure
from sharedmem.sync import WorkerSync
from sharedmem.team import Port
from sharedmem.transport import ATOMIC_TYPES


class Context:
    """What a task sees of the worker that runs it.

    Parameters
    ----------
    sync : WorkerSync
        The worker's part in the team.
    entropy : int
        What all random numbers of the pool derive from.
    call : int
        The number of the call in the pool.

    Attributes
    ----------
    local : SimpleNamespace
        The worker's `rank`, and whatever its tasks store.
    """

    def __init__(self, sync: WorkerSync, entropy: int, call: int) -> None:
        self.sync = sync
        self.local = SimpleNamespace(rank=sync.rank)
        self._entropy = entropy
        self._call = call
        self._rng_index = -1
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the current task."""
        index = self.sync.index
        if index < 0:
            raise RuntimeError(
                "pool.rng belongs to a task: use it in the function that pool.map calls, or "
                "numpy.random.default_rng() outside"
            )
        if self._rng is None or index != self._rng_index:
            seeds = np.random.SeedSequence(self._entropy, spawn_key=(self._call, index))
            self._rng = np.random.default_rng(seeds)
            self._rng_index = index
        return self._rng

    def worker_seeds(self) -> np.random.SeedSequence:
        """Return what this worker seeds the global generators with."""
        # Keys of another length than a task's, so that the two never meet.
        return np.random.SeedSequence(self._entropy, spawn_key=(self._call, self.sync.rank, 0))


def run_claims(
    func: Callable[[Any], Any],
    sequence: Any,
    claims: Iterator[tuple[int, int]],
    sync: WorkerSync,
    port: Port,
) -> None:
    """Run `func` on the items of `sequence` that this worker claims."""
    words, slot, pending = sync.team.words, sync.slot, port.pending
    for start, stop in claims:
        if port.stopped():
            break
        sync.advance(start)
        port.start(start)
        for index in range(start, stop):
            words[slot] = index
            result = func(sequence[index])
            if type(result) in ATOMIC_TYPES:
                pending.append(result)
            else:
                port.add(result)
        port.flush()


def run_fed(func: Callable[[Any], Any], sync: WorkerSync, port: Port) -> None:
    """Run `func` on the items that the coordinator sends."""
    words, slot = sync.team.words, sync.slot
    while (message := port.receive()) is not None:
        sync.advance(message.index)
        port.start(message.index)
        for index, item in enumerate(message.value, message.index):
            words[slot] = index
            port.add(func(item))
        port.flush()
        sync.hand_in(message.index)


def run_to_the_end(run: Callable[[], None], sync: WorkerSync, port: Port) -> None:
    """Run a worker's tasks, and tell the coordinator how that ended."""
    try:
        run()
    except StopProcessGroup:
        port.flush()
    except BaseException as error:
        index = sync.index
        what = f"Task {index}" if index >= 0 else "The initializer"
        port.fail(index, describe_failure(error, f"{what} in worker {sync.rank}"))
    finally:
        sync.leave()
    port.finish()


def item_text(sequence: Any, index: int) -> str:
    """Return a short text for the item of a task, for an error."""
    try:
        return reprlib.repr(sequence[index])
    except Exception:
        return "an item that cannot be shown"
