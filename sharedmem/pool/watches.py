"""What progress and traces see of calls: which are inside of another, their steps and events."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import ParamSpec, Protocol, TypeVar

from sharedmem.machine.progress_bar import Display
from sharedmem.pool.entered import innermost, watched_blocks
from sharedmem.pool.trace import Trace
from sharedmem.workers.recorder import Activity, Event

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = __name__.partition(".")[0] + "."


class WatchedPool(Protocol):
    """A pool that may show progress, or record traces.

    Attributes
    ----------
    np : int
        Number of workers.
    """

    np: int

    def display(self) -> Display | None:
        """Return a new display of progress, if it is shown."""
        ...

    def new_trace(self, n_workers: int) -> Trace | None:
        """Return a new trace, if there are traces; it is that of the last call from now on."""
        ...


class Steps:
    """The steps of a call, and their display.

    Parameters
    ----------
    display : Display or None
        Shows them.
    total : int or None
        The number of steps; None if it is not known.
    """

    def __init__(self, display: Display | None, total: int | None = 0) -> None:
        self.display = display
        self._done = self._ahead = 0
        self._total = total

    def expect(self, n_steps: int) -> None:
        """Count steps that will come, in one phase or several."""
        if self._total is not None:
            self._total += n_steps
            self._ahead += n_steps

    def begin(self, n_steps: int) -> None:
        """Count the steps of a phase, unless they were expected."""
        known = min(n_steps, self._ahead)
        self.expect(n_steps - known)
        self._ahead -= n_steps

    def advance(self, n_steps: int) -> None:
        """Show that so many steps have been done."""
        self._done += n_steps
        self.show()

    def show(self) -> None:
        """Show how many steps have been done."""
        if self.display is not None:
            self.display.show(self._done, self._total)

    def close(self) -> None:
        """Show no more."""
        if self.display is not None:
            self.display.close()


class WatchedCall:
    """One call of a pool, whose progress is shown, or which is recorded.

    Parameters
    ----------
    pool : WatchedPool
        The pool.
    name : str
        The array function; empty for `map`.

    Attributes
    ----------
    steps : Steps
        What is done.
    trace : Trace or None
        The record.
    is_over : bool
        Whether it has ended. Contexts that were copied meanwhile may outlive it.
    """

    def __init__(self, pool: WatchedPool, name: str) -> None:
        self.pool_id = id(pool)
        self.name = name
        self.is_over = False
        self.steps = Steps(pool.display())
        self.trace = pool.new_trace(max(pool.np, 1))

    def end(self) -> None:
        """Show and record no more."""
        self.is_over = True
        self.steps.close()
        trace = self.trace
        if trace is not None:
            trace.finish()
            if self.name and not any(trace.events):  # NumPy has done it in the caller's thread
                event = Event(Activity.TASKS, trace.start, trace.stop, 0, name=self.name)
                trace.events[0].append(event)


class _Role:
    """What a context is in a call: its function, a phase that begins, or one of its tasks."""

    CALL, PHASE, TASK = range(3)


# The call that a context is in, and its role there.
_open: ContextVar[tuple[WatchedCall, int] | None] = ContextVar("watched", default=None)


def _found(pool: WatchedPool) -> tuple[WatchedCall | None, int]:
    """Return the call of the pool that the caller is in, and its role there."""
    found = _open.get()
    if found is None or found[0].is_over or found[0].pool_id != id(pool):
        return None, _Role.CALL
    return found


@contextlib.contextmanager
def _acting(call: WatchedCall, role: int) -> Iterator[None]:
    before = _open.get()
    try:
        _open.set((call, role))
        yield
    finally:
        _open.set(before)


def tasks_of(call: WatchedCall) -> contextlib.AbstractContextManager[None]:
    """Return the block in which the caller runs tasks: the pool's calls in them are not seen."""
    return _acting(call, _Role.TASK)


@contextlib.contextmanager
def watched(pool: WatchedPool, name: str) -> Iterator[None]:
    """Show and record all that runs in this block as one call, or as a part of another."""
    if _found(pool)[0] is not None:
        yield
        return
    call = WatchedCall(pool, name)
    try:
        with _acting(call, _Role.CALL):
            yield
    finally:
        call.end()


@contextlib.contextmanager
def phase(pool: WatchedPool, n_steps: int, name: str = "") -> Iterator[WatchedCall | None]:
    """Give the call that this block is a phase of, or None inside of a task.

    Where no call is open, the phase is one of this name.
    """
    call, role = _found(pool)
    if call is None:
        with watched(pool, name), phase(pool, n_steps) as begun:
            yield begun
    elif role == _Role.CALL:
        call.steps.begin(n_steps)
        if not call.name:
            call.steps.show()
        with _acting(call, _Role.PHASE):
            yield call
    else:
        with tasks_of(call):
            yield None


@contextlib.contextmanager
def advancing(pool: WatchedPool, n_tasks: int) -> Iterator[Callable[[int], object]]:
    """Give a function of the number of tasks just done, in a phase of workers."""
    with phase(pool, n_tasks) as call:
        yield (lambda _: None) if call is None else call.steps.advance


def expect(pool: WatchedPool, n_steps: int) -> None:
    """Count steps that the next phases of the caller's call will have together."""
    call, role = _found(pool)
    if call is not None and role == _Role.CALL:
        call.steps.expect(n_steps)


def trace_of(pool: WatchedPool, n_workers: int) -> Trace | None:
    """Return the trace of the workers that the caller starts now; None inside of a task.

    In a phase, the caller runs tasks from now on.
    """
    call, role = _found(pool)
    if call is None:
        return pool.new_trace(n_workers)
    if role == _Role.TASK:
        return None
    if role == _Role.PHASE:
        _open.set((call, _Role.TASK))
    if call.trace is not None:
        call.trace.make_room(n_workers, call.name)
    return call.trace


def counted(pool: WatchedPool, results: Iterator[R], n_results: int | None) -> Iterator[R]:
    """Yield results, and show how many have been taken."""
    call, role = _found(pool)
    if call is not None and role == _Role.CALL:
        return _counted(call.steps, results)
    steps = Steps(pool.display() if call is None else None, n_results)
    return _closing(steps, _counted(steps, results))


def _counted(steps: Steps, results: Iterator[R]) -> Iterator[R]:
    for result in results:
        steps.advance(1)
        yield result


def _closing(steps: Steps, results: Iterator[R]) -> Iterator[R]:
    try:
        steps.show()
        yield from results
    finally:
        steps.close()


def array_function() -> str:
    """Return the name of the function of this package that the user has called."""
    frame, name = inspect.currentframe(), ""
    while frame and (module := frame.f_globals.get("__name__", "")).startswith(_PACKAGE):
        name = name if module == __name__ else frame.f_code.co_name
        frame = frame.f_back
    return name


def one_call(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a part of an array function, of which all that it runs on the pool is one call.

    Small calls do without: the check would take some of their time.
    """

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        pool = innermost() if watched_blocks else None
        if pool is None or not pool.is_watched:
            return function(*args, **options)
        with watched(pool, array_function() or function.__name__):
            return function(*args, **options)

    return call
