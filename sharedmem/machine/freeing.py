"""Free what a dead object held of the system, by C functions alone.

Python drops what a signal handler raises in ``__del__`` or in the callback of a weak reference:
Ctrl-C would be lost, and what was to be freed would stay. C functions, and the iterators that call
them, are not interrupted.
"""

from __future__ import annotations

import collections
import ctypes
import itertools
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar

_Owner = TypeVar("_Owner")

exhaust = collections.deque[Any](maxlen=0).extend
"""Run an iterator to its end, in one call of a C function."""

# Keyed by the identity of the owner: an entry lasts until another object has its address.
_endings: dict[int, weakref.ref[Any]] = {}
# Never freed: Python crashes if a callback frees its own reference, and some owners die after all
# modules, at the end of the interpreter.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_endings))
_is_in_nothing = ().__contains__


def free_with(owner: object, steps: list[Iterator[Any]]) -> None:
    """Run iterators to their ends, in this order, when `owner` is gone.

    Parameters
    ----------
    owner : object
        An object that supports weak references.
    steps : list of iterator
        Iterators that call C functions only, and do not refer to `owner`. The list may be changed
        while `owner` lives; assign to all of it (``steps[:]``) to exchange it in one step.
    """
    step_with(owner, filter(_is_in_nothing, itertools.chain.from_iterable(steps)))


def step_with(owner: _Owner, steps: Iterator[Any]) -> weakref.ref[_Owner]:
    """Take one step of an iterator that calls C functions only, when `owner` is gone.

    Return the reference to the owner whose callback does this.
    """
    # The callback gets the reference, which `next` returns in the end.
    reference = _endings[id(owner)] = weakref.ref(owner, partial(next, steps))
    return reference
