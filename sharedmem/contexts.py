"""What a task sees of the worker that runs it."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Self

import numpy as np

from sharedmem.sync import CoordinatorSync, TeamSync, WorkerSync


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


class Section:
    """A block of code that tasks run one after the other; made by the pool."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> Self:
        """Wait for the block to be free."""
        self._enter()
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the next one in."""
        self._leave()


class Contexts:
    """Knows in which worker of a pool the caller is.

    In a forked worker that is the same for all its threads; elsewhere each thread has a context
    of its own. The innermost call counts where a task calls the pool again.

    Parameters
    ----------
    entropy : int
        What all random numbers of the pool derive from.
    """

    def __init__(self, entropy: int) -> None:
        self._entropy = entropy
        self._n_calls = itertools.count()
        self._of_process: Context | None = None
        self._of_thread = threading.local()

    def for_next_call(self) -> Callable[[WorkerSync], Context]:
        """Return what makes the contexts of one more call."""
        call = next(self._n_calls)
        np.random  # noqa: B018 - imports it, which else each worker would have to do
        return lambda part: Context(part, self._entropy, call)

    def enter_process(self, context: Context) -> None:
        """Make `context` that of this process, for good."""
        self._of_process = context
        self._of_thread = threading.local()

    def enter_thread(self, context: Context) -> None:
        """Make `context` that of this thread, for good."""
        self._of_thread.context = context

    @contextlib.contextmanager
    def acting(self, context: Context) -> Iterator[None]:
        """Make `context` that of this thread, for a while."""
        before = getattr(self._of_thread, "context", None)
        self._of_thread.context = context
        try:
            yield
        finally:
            self._of_thread.context = before

    def current(self) -> Context:
        """Return the context of the caller."""
        context: Context | None = getattr(self._of_thread, "context", None) or self._of_process
        if context is None:
            # Outside of a call the caller is alone, and need not wait for anybody.
            alone = CoordinatorSync(TeamSync(1, processes=False), watch=lambda: None)
            context = self._of_thread.context = Context(alone, self._entropy, 0)
        return context
