"""The pools that the caller has entered by ``with``, the innermost last."""

from __future__ import annotations

import os
import threading
import weakref
from contextvars import ContextVar
from typing import Any

from sharedmem.workers.process import in_worker

Place = tuple[int, int]

# Each with where it was entered. Threads and tasks of asyncio have their own; a thread that is
# started in a copy of a context begins with the pools in it. References are weak, since callbacks
# of an event loop keep such copies: a block holds its pool by itself.
_entered: ContextVar[tuple[tuple[Place, weakref.ref[Any]], ...]]
_entered = ContextVar("entered", default=())
# One entry for each of these pools whose calls are shown or recorded: with none, to look for one of
# these would take a part of the time of small calls.
watched_blocks: list[None] = []


def enter(pool: Any) -> None:
    """Make a pool the innermost, or raise what a signal's handler raises."""
    before = _entered.get()
    entered = (*before, (_place(), weakref.ref(pool)))
    if pool.is_watched:
        watched_blocks.append(None)
    try:
        _entered.set(entered)
    except BaseException:
        _entered.set(before)
        raise


def leave(pool: Any) -> None:
    """Leave the innermost block of a pool, which may have been entered more than once.

    There may be none: a generator may be closed in another thread, or task of asyncio, than the
    one in which it entered the block.
    """
    pools, is_watched = _entered.get(), pool.is_watched
    for at in reversed(range(len(pools))):
        if pools[at][1]() is pool:
            _entered.set(pools[:at] + pools[at + 1 :])
            if is_watched:
                watched_blocks.pop()
            break


def innermost() -> Any:
    """Return the innermost pool, or None.

    Pools that the coordinator entered before it started a worker are not the worker's.
    """
    pools = _entered.get()
    if not pools:  # the common case, on the way of each small sum
        return None
    here = _place()
    for place, reference in reversed(pools):
        pool = reference()
        if place == here and pool is not None:
            return pool
    return None


def _place() -> Place:
    """Return the process, and the thread if that is a worker."""
    return os.getpid(), threading.get_ident() if in_worker() else 0
