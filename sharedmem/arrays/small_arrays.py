"""Small arrays, side by side in blocks of arenas; those that are asked for again are made ahead.

Python takes longer for a few steps than NumPy for an array: C functions make many at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np

from sharedmem.machine.descriptors import closed_at_lack
from sharedmem.machine.freeing import exhaust
from sharedmem.memory import arenas, spare_memory

# Larger arrays, of which a block has few, are not made ahead, nor those of many lengths and dtypes.
_LARGEST_READY = 1024
_MOST_KEYS = 64

# Arrays that are ready, by what they are filled with (None: with anything), their length, and the
# name or type that was given for their dtype. Whoever pops one is alone with it.
ready: dict[tuple[int | None, Any, Any], list[Any]] = {}
# What was asked for once.
_asked: set[tuple[int | None, Any, Any]] = set()

# The slots of each class that are taken next: their offsets in a block, and whether it is zero.
_Slots = tuple[Iterator[int], Any, bool]
_none: list[_Slots] = [(iter(()), None, False)] * len(arenas.slot_bytes)
_slots = _none.copy()


class Blank(np.ndarray[Any, np.dtype[Any]]):
    """An array that is about to be of another type, and that NumPy makes without Python's help."""

    __slots__ = ()


def small_array(shape: tuple[int, ...], dtype: np.dtype[Any], nbytes: int, *, zeros: bool) -> Any:
    """Return a new C-contiguous array in an arena; with `zeros`, it is filled with zeros."""
    kind = arenas.class_of[(nbytes + 63) >> 6]
    while True:
        # No signal handler runs until a slot is taken.
        starts, block, is_zero = _slots[kind]
        for start in starts:
            array = np.ndarray.__new__(Blank, shape, dtype, block, start)
            if zeros and not is_zero:
                block[start : start + nbytes] = 0
            return array
        starts = block = None  # type: ignore[assignment]
        _renew(kind)


def _renew(kind: int) -> None:
    """Find free slots for a class; see `spare_memory.unless_forked`."""
    number = spare_memory.number()
    _slots[kind] = _none[kind]  # so that the block may be free
    block, is_zero = arenas.new_block(kind)
    slots = iter(range(0, block.nbytes, arenas.slot_bytes[kind])), block, is_zero
    exhaust(map(_slots.__setitem__, (kind,), spare_memory.unless_forked((slots,), number)))


def get_ready(filled_with: int | None, length: int, given: Any, like: Any) -> None:
    """Make arrays like a new one if they have been asked for before.

    Parameters
    ----------
    filled_with : int, optional
        A number, which all elements have; by default they are undefined.
    length : int
    given : str or type
        For the key of `ready`: what was given for the dtype.
    like : array
        An array of this length and dtype.
    """
    if like.nbytes > _LARGEST_READY:
        return
    key = filled_with, length, given
    if key not in _asked:
        if len(_asked) >= _MOST_KEYS:
            _asked.clear()
            ready.clear()
        _asked.add(key)
        return
    kind = arenas.class_of[(like.nbytes + 63) >> 6]
    slot_bytes = arenas.slot_bytes[kind]
    number = spare_memory.number()
    block, is_zero = arenas.new_block(kind)
    n = block.nbytes // slot_bytes
    strides = slot_bytes, like.itemsize
    rows = np.ndarray.__new__(Blank, (n, length), like.dtype, block, 0, strides)
    if filled_with is not None and (filled_with or not is_zero):
        rows[...] = filled_with
    arrays = list(rows[::-1])
    exhaust(map(setattr, arrays, repeat("__class__"), repeat(type(like))))
    exhaust(map(ready.__setitem__, (key,), spare_memory.unless_forked((arrays,), number)))


def release() -> bool:
    """Free what is kept for later arrays, and return whether there was any."""
    _forget_slots()
    ready.clear()
    return arenas.release()


_forget_slots = partial(_slots.__setitem__, slice(None), _none)
# A child must not take the slots of its parent.
for _forget in (_forget_slots, ready.clear):
    os.register_at_fork(after_in_child=_forget)
closed_at_lack.append(release)
