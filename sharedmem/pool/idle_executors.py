"""Executors that are idle between two calls, and end after a while without any."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from sharedmem.machine.fork_locks import new_lock
from sharedmem.pool.executor import Executor


class _Idle(NamedTuple):
    executor: Executor
    options: Mapping[str, Any]
    timer: threading.Timer


_lock = new_lock()
_idle: list[_Idle] = []
os.register_at_fork(after_in_child=_idle.clear)


def take_executor(options: Mapping[str, Any]) -> Executor:
    """Return an idle executor that was made with equal options, or a new one.

    If there is none, all others end: a program seldom uses two kinds in turn.
    """
    with _lock:
        place = next((at for at, idle in enumerate(_idle) if _equal(idle.options, options)), None)
        if place is not None:
            found = _idle.pop(place)
            found.timer.cancel()
            return found.executor
    end_idle_executors()
    return Executor(**options)


def give_back(executor: Executor, options: Mapping[str, Any], seconds: float) -> None:
    """Keep an executor whose tasks are done for `seconds`, in case that it is taken again."""
    timer = threading.Timer(seconds, lambda: _end_one(executor))
    timer.daemon = True
    with _lock:
        _idle.append(_Idle(executor, options, timer))
    timer.start()


def _end_one(executor: Executor) -> None:
    with _lock:
        kept = [idle for idle in _idle if idle.executor is not executor]
        was_idle = len(kept) < len(_idle)
        _idle[:] = kept
    if was_idle:
        executor.shutdown()


def end_idle_executors() -> None:
    """End all executors that are idle, and wait for their workers."""
    with _lock:
        ended, _idle[:] = _idle[:], []
    for executor, _, timer in ended:
        timer.cancel()
        executor.shutdown()


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    try:
        return one == other
    except ValueError:  # of arrays, which are compared element by element
        return False
