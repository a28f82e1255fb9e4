"""What a dead object held of the system is freed by functions of C alone.

Where Python runs code of its own at the end of an object, in ``__del__`` or the callback of a weak
reference, it drops what a signal handler raises there: Ctrl-C would be lost, and what was to be
freed would stay. Functions of C, and the iterators that call them, are not interrupted.
"""

from __future__ import annotations

import collections
import itertools
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

# Runs an iterator to its end.
exhaust = collections.deque[Any](maxlen=0).extend
# By the identity of the owner: an entry lasts until another object lies in its place.
_endings: dict[int, weakref.ref[Any]] = {}
_is_in_nothing = ().__contains__


def free_with(owner: object, steps: list[Iterator[Any]]) -> None:
    """Have iterators run to their ends when `owner` is gone, in this order.

    Parameters
    ----------
    owner : object
        Takes weak references.
    steps : list of iterator
        They call functions of C only, and know nothing of `owner`. The list may be changed as long
        as `owner` lives; to be exchanged in one step, it is assigned to as a whole (``steps[:]``).
    """
    everything = filter(_is_in_nothing, itertools.chain.from_iterable(steps))
    # Called with the reference, it is what `next` returns in the end.
    _endings[id(owner)] = weakref.ref(owner, partial(next, everything))
