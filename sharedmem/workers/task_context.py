"""What a task sees of the worker that runs it."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sharedmem.machine.fork_locks import new_lock
from sharedmem.workers.sections import CoordinatorSync, TeamSync, WorkerSync


class Call(NamedTuple):
    """One call of a pool, of which each has random numbers of its own.

    Attributes
    ----------
    entropy : int
        What all random numbers of the pool derive from.
    number : int
        How many calls the pool has had before.
    """

    entropy: int
    number: int

    def context(self, part: WorkerSync) -> Context:
        """Return the context of one of its workers."""
        return Context(part, self)

    def task_seeds(self, index: int) -> np.random.SeedSequence:
        """Return what the generator of a task starts from."""
        return np.random.SeedSequence(self.entropy, spawn_key=(self.number, index))

    def worker_seeds(self, n_workers: int) -> NDArray[np.unsignedinteger]:
        """Return what each worker seeds NumPy's global generator with, in rows."""
        # A key of another length than a task's, so that the two never meet.
        seeds = np.random.SeedSequence(self.entropy, spawn_key=(self.number,))
        return seeds.generate_state(8 * n_workers).reshape(n_workers, 8)


class Context:
    """What a task sees of the worker that runs it.

    Parameters
    ----------
    sync : WorkerSync
        The worker's part in the team.
    call : Call
        The call that it works for.

    Attributes
    ----------
    local : SimpleNamespace
        The worker's `rank`, and whatever its tasks store.
    """

    def __init__(self, sync: WorkerSync, call: Call) -> None:
        self.sync = sync
        self.local = SimpleNamespace(rank=sync.rank)
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
            self._rng = np.random.default_rng(self._call.task_seeds(index))
            self._rng_index = index
        return self._rng


class _OfThread(threading.local):
    context: Context | None = None


class _Claims(threading.local):
    is_running = False


_claims = _Claims()


@contextlib.contextmanager
def in_claim() -> Iterator[None]:
    """Say that this thread runs tasks of another process, whose pools are not those made here."""
    before, _claims.is_running = _claims.is_running, True
    try:
        yield
    finally:
        _claims.is_running = before


class ConsumerSync(CoordinatorSync):
    """The part of who is in no task: alone, but kept out of `critical` by the workers of `imap`.

    Parameters
    ----------
    calls : list of (int, WorkerSync)
        The parts that consumers have in calls of `imap`, and the processes that these belong to.
    """

    def __init__(self, calls: list[tuple[int, WorkerSync]]) -> None:
        super().__init__(TeamSync(1, processes=False), watch=lambda: None)
        self._calls = calls
        self._entered: list[WorkerSync] = []

    def _acquire_critical(self) -> None:
        me = os.getpid()
        try:
            # In one order, so that two consumers never wait for each other.
            for pid, part in self._calls.copy():
                if pid == me:
                    part.enter_critical()
                    self._entered.append(part)
        except BaseException:
            self.leave_critical()
            raise

    def leave_critical(self) -> None:
        """Let the workers in."""
        self._critical_owner = None
        while self._entered:
            self._entered.pop().leave_critical()


class Contexts:
    """Knows in which worker of a pool the caller is.

    In a forked worker that is the same for all its threads; elsewhere each thread has a context
    of its own. The innermost call counts where a task calls the pool again.

    A copy, or what is unpickled, is that of another pool: with the same seed if there is one, and
    as many calls before. But within a task, and on its way to one, it is that of the same pool.

    Parameters
    ----------
    seed : int or None
        What all random numbers of the pool derive from; None takes fresh entropy.
    n_calls : int
        How many calls the pool has had before.
    """

    def __init__(self, seed: int | None, n_calls: int = 0) -> None:
        self.seed = seed
        self._entropy = int.from_bytes(os.urandom(16)) if seed is None else seed
        self._n_calls = n_calls
        self._counting = new_lock()
        self._of_process: Context | None = None
        self._of_thread = _OfThread()
        self._consumed: list[tuple[int, WorkerSync]] = []
        self._key = os.urandom(16).hex()
        _here[self._key] = self

    def __reduce__(self) -> Any:
        """Pickle by name: where tasks of a pool run, all that refer to it agree."""
        return _contexts_here, (self._key, self._entropy, self.seed, self._n_calls)

    def start_from(self, number: int) -> None:
        """Give the next call at least this number."""
        with self._counting:
            self._n_calls = max(self._n_calls, number)

    def next_call(self) -> Call:
        """Return one more call."""
        with self._counting:
            number, self._n_calls = self._n_calls, self._n_calls + 1
        return Call(self._entropy, number)

    def enter_process(self, context: Context) -> None:
        """Make `context` that of this process, for good."""
        self._of_process = context
        self._of_thread = _OfThread()
        self._of_thread.context = context

    def enter_thread(self, context: Context) -> None:
        """Make `context` that of this thread, for good."""
        self._of_thread.context = context

    @contextlib.contextmanager
    def acting(self, context: Context) -> Iterator[None]:
        """Make `context` that of this thread, for a while."""
        before = self._of_thread.context
        self._of_thread.context = context
        try:
            yield
        finally:
            self._of_thread.context = before

    @contextlib.contextmanager
    def consumed(self, part: WorkerSync) -> Iterator[None]:
        """Keep who is in no task out of `critical`, for a while, by `part` in a call of `imap`."""
        call = os.getpid(), part
        self._consumed.append(call)
        try:
            yield
        finally:
            self._consumed.remove(call)

    def current(self) -> Context:
        """Return the context of the caller."""
        context = self._of_thread.context or self._of_process
        if context is None and _claims.is_running:
            raise RuntimeError(
                "this pool is not the one that runs the task: it was made anew when its module was "
                "imported by this worker of a cluster. Make the pool in the main program, or hand "
                "it to the function"
            )
        if context is None:
            alone = ConsumerSync(self._consumed)
            context = self._of_thread.context = Context(alone, Call(self._entropy, 0))
        return context

    def in_call(self) -> bool:
        """Return whether the caller belongs to a call of the pool."""
        context = self._of_thread.context or self._of_process
        return context is not None and not isinstance(context.sync, ConsumerSync)


_here: weakref.WeakValueDictionary[str, Contexts] = weakref.WeakValueDictionary()
_finding = new_lock()


def _contexts_here(key: str, entropy: int, seed: int | None, n_calls: int) -> Contexts:
    with _finding:
        known = _here.get(key)
        if known is not None and (_claims.is_running or known.in_call()):
            return known
        contexts = Contexts(seed, n_calls)
        if _claims.is_running:
            contexts._entropy, contexts._key = entropy, key
            _here[key] = contexts
        return contexts


class Critical:
    """A block that one worker at a time may be in; made by the pool."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts

    # What stands between two workers' turns counts: here it is a call less each.
    def __enter__(self) -> Self:
        """Wait for the block to be free."""
        contexts = self._contexts
        (contexts._of_thread.context or contexts.current()).sync.enter_critical()
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the next one in."""
        contexts = self._contexts
        (contexts._of_thread.context or contexts.current()).sync.leave_critical()


class Ordered:
    """A block that tasks enter one by one, in their order; made by the pool."""

    def __init__(self, contexts: Contexts) -> None:
        self._current = contexts.current

    def __enter__(self) -> Self:
        """Wait for the turn."""
        self._current().sync.enter_turn()
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the next one in."""
        self._current().sync.leave_turn()
