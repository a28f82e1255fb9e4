"""Scenarios: a fault, where it can occur, and how the call must end."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sharedmem import MapReduce, ProcessBackend, ThreadBackend, WorkerException
from sharedmem.errors import DeadWorkerError

BACKENDS: dict[str, Any] = {"processes": ProcessBackend, "threads": ThreadBackend}
PROCESSES = ("processes",)
BOTH = ("processes", "threads")
EVERY = (1, 2, 5, 13)
TWO = (2,)
LIMIT_SECONDS = 10.0
# Numba is imported, and kernels are compiled.
COMPILES = {"limit": 60.0}
NOT_POSSIBLE = "not possible here"

# How a call ends if its worker ends.
DIES = {"raises": WorkerException, "reason": DeadWorkerError}
KILLED = {**DIES, "text": r"Worker \d+ \(pid \d+\) was killed by SIGKILL "}
IN_TASK = {**DIES, "text": r"was killed by SIGKILL while it ran task \d+ \(item: \d+\)"}

SCENARIOS: dict[str, Scenario] = {}


@dataclass(frozen=True)
class Scenario:
    """A fault, and how the call during which it occurs must end.

    Attributes
    ----------
    function : callable
        Takes a `Stage`; injects the fault, and asserts what can be seen from inside.
    groups : tuple of int
        Groups of faults, as numbered in docs/faults.md.
    backends, workers : tuple
        The backends and the numbers of workers it runs with.
    raises : type or None
        What `function` must raise; None if it must return.
    reason : type or None
        The type of the `reason` of the WorkerException.
    text, notes, prints : str
        Patterns of the exception's text, of its notes, and of all output of the interpreter.
    warns : type or None
        The only warning.
    at_random : bool
        Whether the fault strikes at a random moment, so that repetitions are useful.
    exits : int or None
        The exit code of an interpreter that is not to survive; negative for a signal.
    limit : float
        Time limit in seconds.
    is_long : bool
        Whether it takes seconds or gigabytes; only `make soak` runs it.
    """

    function: Callable[[Stage], object]
    groups: tuple[int, ...]
    backends: tuple[str, ...] = PROCESSES
    workers: tuple[int, ...] = EVERY
    raises: type[BaseException] | None = None
    reason: type[BaseException] | None = None
    text: str = ""
    notes: str = ""
    prints: str = ""
    warns: type[Warning] | None = None
    at_random: bool = False
    exits: int | None = None
    limit: float = LIMIT_SECONDS
    is_long: bool = False

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @property
    def module(self) -> str:
        """The module of the function."""
        return self.function.__module__

    def runs(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the backend and the numbers of workers of each interpreter."""
        for backend in self.backends:
            if self.exits is None:
                yield backend, self.workers
            else:
                yield from ((backend, (n_workers,)) for n_workers in self.workers)


class Case(NamedTuple):
    """A scenario for one backend and one number of workers."""

    name: str
    backend: str
    n_workers: int

    def __str__(self) -> str:
        return f"{self.name}-{self.backend}-{self.n_workers}"


def scenario(
    *groups: int, name: str | None = None, **expected: Any
) -> Callable[[Callable[[Stage], object]], Callable[[Stage], object]]:
    """Register a function as a scenario."""

    def register(function: Callable[[Stage], object]) -> Callable[[Stage], object]:
        if name is not None:
            function.__name__ = name
        assert function.__name__ not in SCENARIOS, function.__name__
        SCENARIOS[function.__name__] = Scenario(function, groups, **expected)
        return function

    return register


class Stage:
    """The pool that a fault strikes, and a source of random choices.

    Attributes
    ----------
    pool : MapReduce
        The pool, which must work again afterwards.
    victim : int
        The rank of the worker to strike, chosen at random.
    """

    def __init__(self, backend: str, n_workers: int, seed: str) -> None:
        self.backend = BACKENDS[backend]
        self.n_workers = n_workers
        self.random = random.Random(seed)
        self.pool = MapReduce(self.backend, np=n_workers)
        self.victim = self.random.randrange(n_workers)

    def new_pool(self, **options: Any) -> MapReduce:
        """Replace `pool` by one with other options."""
        self.pool = MapReduce(self.backend, np=self.n_workers, **options)
        return self.pool

    @contextlib.contextmanager
    def striker(
        self, *signals: int, within: float = 0.02, send: Callable[[int, int], None] = os.kill
    ) -> Iterator[Target]:
        """Start a process that sends signals to its target, each after a random delay."""
        strikes = [(which, self.random.uniform(0, within)) for which in signals or [signal.SIGKILL]]
        target = Target()
        coordinator = os.getpid()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            while not target.pid and os.getppid() == coordinator:
                time.sleep(0.0005)
            for which, delay in strikes:
                time.sleep(delay)
                with contextlib.suppress(ProcessLookupError):
                    if target.pid > 0:
                        send(target.pid, which)
            os._exit(0)
        try:
            yield target
        finally:
            if not target.pid:
                target.pid = -1
            os.waitpid(pid, 0)
            target.close()


class Target:
    """The ID of the process to strike, in shared memory, so that any process can set it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)
        self._word = memoryview(self._memory).cast("q")

    @property
    def pid(self) -> int:
        """The process ID; 0 while there is none."""
        return self._word[0]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._word[0] = pid

    def close(self) -> None:
        """Free the memory."""
        self._word.release()
        self._memory.close()


class NotPossibleError(Exception):
    """The fault is not possible here: no permission, or a missing package."""


def throw(error: BaseException) -> None:
    """Raise an exception from an expression."""
    raise error


def compiled_spin(*, nogil: bool = False) -> Callable[[int], int]:
    """Return an infinite kernel, which holds the GIL unless `nogil` is True."""
    import numba

    @numba.njit("i8(i8)", nogil=nogil)
    def spin(n: int) -> int:
        total = 0
        for i in range(n):
            total += total ^ i
        return total

    return spin


def kill_me(which: int = signal.SIGKILL) -> None:
    """End the calling process by a signal."""
    os.kill(os.getpid(), which)
    time.sleep(60)
