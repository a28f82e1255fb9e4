"""Arenas: segments for small arrays, cut into blocks, which serve again when their arrays are gone.

A segment takes a descriptor and a mapping of the process, and each array on it whole pages: too
much for a hundred thousand small arrays. Arrays of about one size therefore lie side by side in
blocks of about two pages. Each class of sizes has a current arena, whose blocks are taken one by
one, without a lock: a signal handler, or another thread, may take others at any moment, and a
process may be forked. What is interrupted may lose a block, but none is ever given twice.

A block is the base of its arrays, so that it lives until they are gone. An arena knows its blocks
by weak references. When all of them have been given, it is searched for dead ones. These serve
again if no other process can know their arrays: none was forked since the arena was made, and no
array was described to others, see :meth:`Blocks.expose`. The memory of other blocks is freed with
the arena, which is freed with its last array.
"""

from __future__ import annotations

import operator
import os
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import compress, repeat
from typing import Any, NamedTuple

import numpy as np

from sharedmem.machine.freeing import exhaust
from sharedmem.machine.tuning import tuning
from sharedmem.memory import spare_memory
from sharedmem.memory.segments import Segment

# Slots begin at multiples of it: no two arrays share a cache line.
_LINE = 64
_BLOCK_BYTES = 8192
# An arena is searched if at least one in four of its blocks is dead.
_LEAST_DEAD = 4
# So many arenas are looked at before one is made, however many there are.
_N_SEARCHED = 8
# Stands for a reference to a block that never dies: it returns something when it is called.
_KEPT = bool


class Block(np.ndarray[Any, np.dtype[np.uint8]]):
    """A part of an arena, the base of the arrays in it.

    Its type keeps NumPy from taking the segment for the base of their views. It has no dict, so
    that the garbage collector does not clear weak references to it while arrays live.
    """

    __slots__ = ()


class Blocks:
    """What the segment of an arena knows of its blocks.

    Attributes
    ----------
    nbytes : int
        Size of a block.
    references : list of callables
        For each block, a weak reference to it.
    moment : int
        The moment between two forks in which the arena was made.
    """

    __slots__ = ("_tickets", "moment", "nbytes", "references")

    def __init__(self, nbytes: int, n: int) -> None:
        self.nbytes, self.moment = nbytes, spare_memory.moment()
        self.references: list[Any] = [_KEPT] * n
        self._tickets = [None]

    def expose(self, start: int, stop: int) -> None:
        """Never use the blocks of bytes `start` to `stop` again: other processes may know them."""
        first, last = start // self.nbytes, -(-stop // self.nbytes)
        self.references[first:last] = [_KEPT] * (last - first)

    def claim(self) -> list[int]:
        """Return the numbers of dead blocks, for one caller."""
        try:
            self._tickets.pop()
        except IndexError:  # another thread is here
            return []
        is_dead = map(operator.is_, map(operator.call, self.references), repeat(None))
        dead = list(compress(range(len(self.references)), is_dead))
        exhaust(map(self.references.__setitem__, dead, repeat(_KEPT)))
        self._tickets.append(None)
        return dead


class _Arena(NamedTuple):
    """The free blocks of a segment: one step of `numbers` takes one."""

    numbers: Iterator[int]
    segment: Any
    is_zero: bool


def _sizes(largest: int) -> Iterator[int]:
    """Yield the sizes of slots: multiples of 64 bytes, about four between powers of 2."""
    size = _LINE
    while size < largest:
        yield size
        size += max(_LINE, 1 << size.bit_length() - 3)
    yield size


slot_bytes = list(_sizes(tuning.arena_bytes))
"""The size of the slots of each class."""
class_of = [0]
"""The class of arrays, by their size in units of 64 bytes, rounded up."""
for _kind, _size in enumerate(slot_bytes):
    class_of += [_kind] * (_size // _LINE + 1 - len(class_of))

_no_arenas = [_Arena(iter(()), None, is_zero=False)] * len(slot_bytes)
_arenas = _no_arenas.copy()
# Other arenas of each class, those first that were not looked at for longest.
_others: list[deque[weakref.ref[Segment]]] = [deque() for _ in slot_bytes]
# The size of the next arena of each class: it doubles, so that there are few.
_next_bytes = [0] * len(slot_bytes)


def new_block(kind: int) -> tuple[Block, bool]:
    """Return a block for arrays of a class, and whether it is filled with zeros.

    Raises
    ------
    MemoryError, OSError
        If the system refuses memory.
    """
    while True:
        number = spare_memory.number()
        # Signal handlers do not run until a block is taken.
        numbers, segment, is_zero = _arenas[kind]
        for at in numbers:
            blocks = segment.blocks
            start = at * blocks.nbytes
            block = np.ndarray.__new__(Block, blocks.nbytes, "u1", segment.buffer, start)
            blocks.references[at] = weakref.ref(block)
            return block, is_zero
        if segment is not None:
            _others[kind].append(weakref.ref(segment))
        arena = _searched(kind, number) or _made(kind)
        # A process that is forked meanwhile must not get the same blocks. That is tested in the
        # step of C functions that makes the arena current.
        is_current = spare_memory.unless_forked((arena,), number)
        exhaust(map(_arenas.__setitem__, (kind,), is_current))


def _searched(kind: int, number: int) -> _Arena | None:
    """Return an arena in which many blocks are dead; None if none is found."""
    others = _others[kind]
    for _ in range(min(len(others), _N_SEARCHED)):
        try:
            reference = others.popleft()
        except IndexError:
            break
        segment = reference()
        if segment is None or segment.blocks.moment != number:
            continue
        n = len(segment.blocks.references)
        # A block that lives refers to the segment.
        if (n - sys.getrefcount(segment)) * _LEAST_DEAD >= n and (dead := segment.blocks.claim()):
            return _Arena(iter(dead), segment, is_zero=False)
        others.append(reference)
    return None


def _made(kind: int) -> _Arena:
    """Return a new arena."""
    size = slot_bytes[kind]
    block_bytes = max(_BLOCK_BYTES // size, 1) * size
    nbytes = _next_bytes[kind] if _others[kind] else 0
    nbytes = min(max(nbytes, tuning.first_arena_bytes, 8 * block_bytes), tuning.largest_arena_bytes)
    _next_bytes[kind] = 2 * nbytes
    n = nbytes // block_bytes
    blocks = Blocks(block_bytes, n)
    segment = Segment(n * block_bytes)
    segment.blocks = blocks
    return _Arena(iter(range(n)), segment, segment.is_zero)


def release() -> bool:
    """Free the arenas that have no arrays, and return whether there were any arenas."""
    had_any = _arenas != _no_arenas
    _forget()
    return had_any


# A child must not take the blocks of its parent.
_forget = partial(_arenas.__setitem__, slice(None), _no_arenas)
os.register_at_fork(after_in_child=_forget)
