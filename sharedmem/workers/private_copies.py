"""Large private arrays of functions: copied to shared memory once, and mapped by each worker."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.from_data import copy
from sharedmem.arrays.shared_array import SharedArray, describe
from sharedmem.memory.memory_files import map_privately, mapped_bytes
from sharedmem.workers.fingerprints import memory_of

# The copies, by the identity of the array, with what it was like: each lives as long as its array.
_copies: dict[int, tuple[Any, tuple[Any, ...], SharedArray]] = {}
# The mappings of this worker, by the identity of the segment.
_mappings: weakref.WeakValueDictionary[tuple[int, int], _Mapping] = weakref.WeakValueDictionary()


def shared_copy(array: NDArray[Any]) -> SharedArray | None:
    """Return a copy of an array in shared memory, the same one until the array changes.

    Return None if other processes cannot get the copy: the system has no memory files.
    """
    place = id(array)
    now = memory_of(array)
    known = _copies.get(place)
    if known is None or known[0]() is not array or known[1] != now:
        made = copy(array)
        if describe(made)[0].fd < 0:
            return None
        # A function of C: Python would lose an interrupt in the callback.
        reference = weakref.ref(array, partial(_copies.pop, place))
        known = _copies[place] = reference, now, made
    return known[2]


class _Mapping(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes of a segment in private memory."""


def private_array(shared: SharedArray, writeable: bool) -> NDArray[Any]:
    """Return an array with the elements of a shared one; what is written to it stays here."""
    segment, layout = describe(shared)
    mapping = _mappings.get(segment.identity)
    if mapping is None:
        content = map_privately(segment.fd, mapped_bytes(segment.nbytes))
        mapping = np.asarray(content).view(_Mapping)
        _mappings[segment.identity] = mapping
    array = np.ndarray(layout.shape, layout.dtype, mapping.data, layout.offset, layout.strides)
    array.flags.writeable = writeable
    return array
