"""Large private arrays: copied to shared memory once, and mapped by each worker as its own."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.from_data import copy
from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.arrays.shared_array import SharedArray, describe, is_in_segment, restore
from sharedmem.memory.memory_files import map_privately, mapped_bytes
from sharedmem.memory.segments import Segment
from sharedmem.workers.fingerprints import memory_of
from sharedmem.workers.pickling import OUT_OF_BAND_BYTES

# The mappings of this worker, by the identity of the segment.
_mappings: weakref.WeakValueDictionary[tuple[int, int], _Mapping] = weakref.WeakValueDictionary()


class _Mapping(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes of a segment in private memory."""


def private_array(shared: SharedArray, writeable: bool) -> NDArray[Any]:
    """Return an array with the elements of a shared one; what is written to it stays here.

    All arrays of this process on a segment share these writes, while there is one.
    """
    segment, layout = describe(shared)
    mapping = _mappings.get(segment.identity)
    if mapping is None:
        mapping = _mappings[segment.identity] = _map(segment)
    return _placed(mapping, layout, writeable)


def own_array(shared: SharedArray, _: bool) -> NDArray[Any]:
    """Return a writable array with the elements of a shared one, which nothing else writes to."""
    segment, layout = describe(shared)
    return _placed(_map(segment), layout, writeable=True)


def shared_array(shared: SharedArray, writeable: bool) -> NDArray[Any]:
    """Return an array with the memory of a shared one; all processes see what is written to it."""
    array = np.asarray(shared)
    array.flags.writeable = writeable
    return array


def _map(segment: Segment) -> _Mapping:
    content = map_privately(segment.fd, mapped_bytes(segment.nbytes))
    return np.asarray(content).view(_Mapping)


def _placed(mapping: _Mapping, layout: Any, writeable: bool) -> NDArray[Any]:
    array = np.ndarray(layout.shape, layout.dtype, mapping.data, layout.offset, layout.strides)
    array.flags.writeable = writeable
    return array


class SharedCopies:
    """Copies of large arrays in shared memory, each of which lives as long as its array.

    Parameters
    ----------
    least_bytes : int
        Smaller arrays are not copied.
    rebuild : callable
        Returns, in the worker, the array of a copy, given whether the original is writable.
    """

    def __init__(
        self,
        least_bytes: int = OUT_OF_BAND_BYTES,
        rebuild: Callable[[SharedArray, bool], Any] = private_array,
    ) -> None:
        self._least_bytes = least_bytes
        self._rebuild = rebuild
        # By the identity of the array, with what it was like.
        self._copies: dict[int, tuple[Any, tuple[Any, ...], SharedArray]] = {}

    def reduce(self, array: NDArray[Any]) -> Any:
        """Return what pickles a mapped file or a large array; NotImplemented for other arrays."""
        file = ArrayFile.of(array)
        if file is not None:
            return ArrayFile.map, (file,)
        is_plain = type(array) is np.ndarray and not array.dtype.hasobject
        if not is_plain or array.nbytes < self._least_bytes:
            return NotImplemented
        shared = self._copy_of(array)
        # Without a file other processes cannot map it: the system has none to spare.
        if describe(shared)[0].fd < 0:
            return NotImplemented
        return self._rebuild, (shared, array.flags.writeable)

    def _copy_of(self, array: NDArray[Any]) -> SharedArray:
        """Return a copy, the same one until the array changes."""
        if is_in_segment(array):
            return restore(*describe(array))
        place = id(array)
        now = memory_of(array)
        known = self._copies.get(place)
        if known is None or known[0]() is not array or known[1] != now:
            # A function of C: Python would lose an interrupt in the callback.
            reference = weakref.ref(array, partial(self._copies.pop, place))
            known = self._copies[place] = reference, now, copy(array)
        return known[2]

    def clear(self) -> None:
        """Drop all copies."""
        self._copies.clear()
