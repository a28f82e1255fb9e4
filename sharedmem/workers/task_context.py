"""Contexts of tasks: the rank, random numbers, and sections of the worker that runs them."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels.quiet import quietly
from sharedmem.machine.fork_locks import new_lock
from sharedmem.workers.process import assigned
from sharedmem.workers.sections import Sections


class Call(NamedTuple):
    """One call of a pool, which has its own random numbers.

    Attributes
    ----------
    entropy : int
        The seed of all random numbers of the pool.
    number : int
        The number of calls before this one.
    """

    entropy: int
    number: int

    def task_seeds(self, index: int) -> np.random.SeedSequence:
        """Return the seed of the generator of a task."""
        return np.random.SeedSequence(self.entropy, spawn_key=(self.number, index))

    def worker_seeds(self, n_workers: int) -> NDArray[np.unsignedinteger]:
        """Return the seeds of NumPy's global generator, one row per worker."""
        # The key is shorter than that of a task, so that the two never meet.
        seeds = np.random.SeedSequence(self.entropy, spawn_key=(self.number,))
        # NumPy's seeds do that by `numpy.errstate`, which an interrupt may leave.
        return quietly(seeds.generate_state, 8 * n_workers).reshape(n_workers, 8)


class Context:
    """The part of a worker that its tasks see.

    Parameters
    ----------
    sync : Sections
        The sections of the worker.
    call : Call
        The call that it works for.
    local : SimpleNamespace, optional
        That of the same worker in its last call.

    Attributes
    ----------
    local : SimpleNamespace
        The `rank` of the worker, and whatever its tasks store.
    """

    def __init__(self, sync: Sections, call: Call, local: SimpleNamespace | None = None) -> None:
        self.sync = sync
        self.local = local or SimpleNamespace(rank=sync.rank)
        self._call = call
        self._rng_key = -1, 0
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the current task."""
        index = self.sync.index
        if index < 0:
            raise RuntimeError(
                "pool.rng was used outside a task: use it in the function that pool.map calls, and "
                "numpy.random.default_rng() elsewhere"
            )
        key = index, self.sync.attempt  # Each attempt draws the same numbers.
        if self._rng is None or key != self._rng_key:
            self._rng = quietly(np.random.default_rng, self._call.task_seeds(index))
            self._rng_key = key
        return self._rng


class _OfThread(threading.local):
    context: Context | None = None


class _Claims(threading.local):
    is_running = False


_claims = _Claims()


in_claim = partial(assigned, _claims, "is_running", True)
"""Return a context in which this thread runs tasks of a pool of another process."""


def enter_claims() -> None:
    """Note that all threads of this process run tasks of pools of another process."""
    _Claims.is_running = True


class _CriticalOfCalls:
    """The critical sections of all calls of `imap` whose results are being taken.

    Parameters
    ----------
    calls : list of (int, Sections)
        The process that a call belongs to, and the sections of its consumer.
    """

    def __init__(self, calls: list[tuple[int, Sections]]) -> None:
        self._calls = calls
        self._entered: list[Sections] = []

    def acquire(self) -> None:
        """Enter all of them."""
        me = os.getpid()
        try:
            # In one order, so that two consumers never wait for each other.
            for pid, sections in self._calls.copy():
                if pid == me:
                    sections.enter_critical()
                    self._entered.append(sections)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Leave all of them."""
        while self._entered:
            self._entered.pop().leave_critical()


class _OutsideSync(Sections):
    """The sections of a thread outside all tasks, which may consume the results of `imap`."""


class Contexts:
    """The contexts of a pool: in which of its workers the caller is.

    All threads of a forked worker have the same context; elsewhere each thread has its own. Where a
    task calls its pool again, the context of the inner call counts.

    A copy or an unpickled object belongs to another pool, with the same seed, if there is one, and
    the same number of calls; but within a task, and on the way to it, it belongs to the same pool.

    Parameters
    ----------
    seed : int or None
        The seed of all random numbers of the pool; None takes new entropy.
    n_calls : int
        The number of calls that the pool has made.
    entropy : int, optional
        What `seed` has become in the process of the pool.
    key : str, optional
        The name under which this process finds the object.

    Attributes
    ----------
    of_thread : threading.local
        Its `context` is that of this thread, or None.
    key : str
        The name under which each process finds the object.
    """

    def __init__(
        self, seed: int | None, n_calls: int = 0, entropy: int | None = None, key: str = ""
    ) -> None:
        self.seed = seed
        if entropy is None:
            entropy = int.from_bytes(os.urandom(16)) if seed is None else seed
        self._entropy = entropy
        self._n_calls = n_calls
        self._counting = new_lock()
        self._of_process: Context | None = None
        self.of_thread = _OfThread()
        self._consumed: list[tuple[int, Sections]] = []
        self.key = key or os.urandom(16).hex()
        _here[self.key] = self

    def __reduce__(self) -> Any:
        """Pickle by name: where tasks of a pool run, all references give the same object."""
        return _contexts_here, (self.key, self._entropy, self.seed, self._n_calls)

    def start_from(self, number: int) -> None:
        """Give the next call at least this number."""
        with self._counting:
            self._n_calls = max(self._n_calls, number)

    def next_call(self) -> Call:
        """Return a new call."""
        with self._counting:
            number, self._n_calls = self._n_calls, self._n_calls + 1
        return Call(self._entropy, number)

    def enter_process(self, context: Context) -> None:
        """Make `context` that of this process, permanently."""
        self._of_process = context
        self.of_thread = _OfThread()
        self.of_thread.context = context

    def acting(self, context: Context) -> contextlib.AbstractContextManager[None]:
        """Make `context` that of this thread, within the block."""
        return assigned(self.of_thread, "context", context)

    @contextlib.contextmanager
    def consumed(self, sections: Sections) -> Iterator[None]:
        """Make threads outside all tasks wait for `critical` of a call of `imap`, within the block.

        Parameters
        ----------
        sections : Sections
            The sections of the consumer in the call.
        """
        call = os.getpid(), sections
        self._consumed.append(call)
        try:
            yield
        finally:
            self._consumed.remove(call)

    def current(self) -> Context:
        """Return the context of the caller."""
        context = self.of_thread.context or self._of_process
        if context is None and _claims.is_running:
            raise RuntimeError(
                "this pool is not the one that runs the task. Either a worker made it when it "
                "imported the module: create it in the main program, or pass it to the function. "
                "Or the task is a call of an executor, as those of apply_async are: use pool.map"
            )
        if context is None:
            alone = _OutsideSync(_CriticalOfCalls(self._consumed))
            context = self.of_thread.context = Context(alone, Call(self._entropy, 0))
        return context

    def in_call(self) -> bool:
        """Return whether the caller belongs to a call of the pool."""
        context = self.of_thread.context or self._of_process
        return context is not None and not isinstance(context.sync, _OutsideSync)


_here: weakref.WeakValueDictionary[str, Contexts] = weakref.WeakValueDictionary()
_finding = new_lock()


def _contexts_here(key: str, entropy: int, seed: int | None, n_calls: int) -> Contexts:
    with _finding:
        known = _here.get(key)
        if known is not None and (_claims.is_running or known.in_call()):
            return known
        if _claims.is_running:
            return Contexts(seed, n_calls, entropy, key)
        return Contexts(seed, n_calls)


class Critical:
    """A block that one worker at a time may enter; created by the pool."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts

    # Each call between the turns of two workers costs time: `current` is called only if needed.
    def __enter__(self) -> Self:
        """Wait until no other worker is in the block."""
        contexts = self._contexts
        (contexts.of_thread.context or contexts.current()).sync.enter_critical()
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the block for another worker."""
        contexts = self._contexts
        (contexts.of_thread.context or contexts.current()).sync.leave_critical()

    def acquire(self) -> bool:
        """Enter the block as that of a lock, for programs written for version 0.3."""
        self.__enter__()
        return True

    def release(self) -> None:
        """Leave the block that `acquire` has entered."""
        self._contexts.current().sync.release_critical()


class Ordered:
    """A block that tasks enter one by one, in their order; created by the pool."""

    def __init__(self, contexts: Contexts) -> None:
        self._current = contexts.current

    def __enter__(self) -> Self:
        """Wait for the turn of the task."""
        self._current().sync.enter_turn()
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the turn to the next task."""
        self._current().sync.leave_turn()
