"""Memory of freed segments, which is kept for the next segments of the same size.

Memory is kept if no other process can see it: no process was forked while the segment lived, and
nobody asked for its identity and descriptor, of which keys are made. What is kept is freed at a
fork. Segments are freed at any moment and in any thread, so memory is kept by C functions alone.
"""

from __future__ import annotations

import functools
import operator
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import compress, count, repeat
from typing import TypeVar

from sharedmem.machine.descriptors import closed_at_lack
from sharedmem.machine.limits import total_memory
from sharedmem.machine.tuning import tuning
from sharedmem.memory.memory_files import HUGE_PAGE, Memory

_Item = TypeVar("_Item")
Shelf = deque[Memory]

# Full shelves drop what they have kept for longest. Those of large memory bound the bytes.
_small: Shelf = deque(maxlen=tuning.spare_small)
_medium: Shelf = deque(maxlen=tuning.spare_medium)
_large: Shelf = deque(maxlen=tuning.spare_large)
_shelves = _small, _medium, _large

# An entry for each thread that is forking.
_forking: list[None] = []
# The number of the moment between two forks, which hooks change before a fork and after it.
_moment = [0]
_next_moment = map(_moment.__setitem__, repeat(0), count(1))
_first_process = os.getpid()


def shelf_of(length: int) -> Shelf | None:
    """Return the shelf for memory of a size; None if it is not kept.

    Forked processes keep memory of small segments only, since there may be many such processes.
    """
    if length < HUGE_PAGE:
        return _small
    if length > (largest := largest_kept()) or os.getpid() != _first_process:
        return None
    return _large if length > largest // 8 else _medium


@functools.cache
def largest_kept() -> int:
    """Return the size of the largest memory that is kept, a small part of what the machine has."""
    return min(tuning.spare_bytes, total_memory() // tuning.spare_share)


def moment() -> int:
    """Return the moment between two forks that it is; -1 while a thread is forking."""
    now = number()
    return -1 if _forking else now


def number() -> int:
    """Return the number of the moment, which is another one while a thread is forking."""
    return _moment[0]


def unless_forked(items: Iterable[_Item], number: int) -> Iterator[_Item]:
    """Yield an item, in one step of C functions, if the moment has this number."""
    return compress(items, map(operator.eq, (number,), _moment))


def keeping(unseen: list[Memory], shelf: Shelf, moment: int) -> Iterator[None]:
    """Return an iterator whose step keeps the memory of a freed segment, unless others may see it.

    Parameters
    ----------
    unseen : list of Memory
        The memory; to be cleared where its identity is asked for.
    shelf : deque
    moment : int
        The moment before the segment had the memory.
    """
    return map(shelf.append, unless_forked(unseen, moment))


def take(shelf: Shelf, length: int) -> Memory | None:
    """Return the memory of this size that was kept last, for one caller; None if there is none."""
    for memory in reversed(shelf.copy()):
        if memory.length == length:
            try:
                shelf.remove(memory)
            except ValueError:  # another thread has it
                continue
            return memory
    return None


def create(length: int) -> Memory:
    """Return new memory; free what is kept if the system has no other."""
    try:
        return Memory.create(length)
    except MemoryError:
        if not release():
            raise
    return Memory.create(length)


def release() -> bool:
    """Free what is kept, and return whether that was any."""
    had_any = any(_shelves)
    for shelf in _shelves:
        shelf.clear()
    return had_any


closed_at_lack.append(release)
# Afterwards, too: other threads may have run between the hook and the fork.
_forgetting: list[Callable[[], object]] = [partial(next, _next_moment)]
for _forget in _forgetting + [shelf.clear for shelf in _shelves]:
    os.register_at_fork(before=_forget, after_in_parent=_forget, after_in_child=_forget)
# Registered last: called first before a fork, and last afterwards.
os.register_at_fork(
    before=partial(_forking.append, None),
    after_in_parent=partial(_forking.__delitem__, slice(-1, None)),
    after_in_child=_forking.clear,
)
