"""Pickles of objects in shared memory by reference, whichever pickler makes them.

A SharedArray is pickled by reference by its own rules. For other kinds of objects there is a
reducer in `copyreg`, once this process has such an object in shared memory. The reducer leaves
objects in private memory to the rules of their class.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import describe, is_in_segment, restore

Reduced = tuple[Any, ...]


def register(kind: type[Any], reducer: Callable[[Any], Any]) -> None:
    """Let all picklers reduce objects of a class by a function, unless another is registered."""
    if kind not in copyreg.dispatch_table:
        copyreg.pickle(kind, reducer)


def shared_view(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as a SharedArray if it is in shared memory, or else as an ndarray."""
    return restore(*describe(array)) if is_in_segment(array) else array.view(np.ndarray)


class ByReference:
    """A container of this package that is pickled by reference, and is copied by value."""

    __slots__ = ()

    def reduce_by_value(self) -> Reduced:
        """Return the reduced form of a container with the same items."""
        raise NotImplementedError
