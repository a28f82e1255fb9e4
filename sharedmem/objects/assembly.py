"""Put an object together again, with copies of its parts in one block of shared memory."""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import SharedArray, allocate, populate
from sharedmem.arrays.strides import memory_order
from sharedmem.machine.helper_threads import in_threads
from sharedmem.machine.limits import NEGLIGIBLE_BYTES, available_memory, cpu_count
from sharedmem.machine.progress_bar import Display
from sharedmem.machine.tuning import tuning
from sharedmem.memory.fill import pieces
from sharedmem.objects.dismantling import Dismantler, Place


def _new_block(nbytes: int) -> SharedArray:
    """Return memory for all parts of an object.

    Raises
    ------
    MemoryError
        If less is available.
    """
    if nbytes >= NEGLIGIBLE_BYTES and nbytes > (available := available_memory()):
        raise MemoryError(
            f"the arrays and buffers of the object take {nbytes} bytes of shared memory, but only "
            f"{available} bytes are available: share fewer of them, or keep them in files"
        )
    return allocate((nbytes,), np.uint8, (0,))


def copied(
    dismantler: Dismantler, readonly: bool = False, display: Display | None = None
) -> tuple[SharedArray, list[SharedArray]]:
    """Return a new block, and the parts of an object in it, by number."""
    block = _new_block(dismantler.nbytes)
    arrays = [placed(block, place, dismantler.dtypes) for place in dismantler.places]
    _copy_parts(arrays, dismantler.parts, display)
    for array in arrays if readonly else map(arrays.__getitem__, dismantler.frozen):
        array.flags.writeable = False
    return block, arrays


def placed(block: SharedArray, place: Place, dtypes: Sequence[np.dtype[Any]]) -> SharedArray:
    """Return the array at a place in a block: shared, unless the block was sent by value."""
    offset, shape, number, axes = place
    kind = type(block)
    if axes is None:
        return np.ndarray.__new__(kind, shape, dtypes[number], block, offset)
    sizes = [shape[axis] for axis in axes]
    array = np.ndarray.__new__(kind, sizes, dtypes[number], block, offset)
    return array.transpose(sorted(range(len(sizes)), key=axes.__getitem__))


class Assembler(pickle.Unpickler):
    """An unpickler for the stream of a Dismantler, given what its numbers stand for."""

    def __init__(self, stream: bytes | memoryview, objects: Callable[[Any], Any]) -> None:
        super().__init__(io.BytesIO(stream))
        self._objects = objects

    def persistent_load(self, number: Any) -> Any:
        """Return what a number stands for."""
        return self._objects(number)


def _copy_parts(
    targets: Sequence[SharedArray], parts: Sequence[NDArray[Any]], display: Display | None
) -> None:
    """Copy parts to their places, in threads, and show how many bytes are done."""
    total, done = sum(map(attrgetter("nbytes"), parts)), 0
    lock, caller = threading.Lock(), threading.get_ident()

    def copy(batch: tuple[Sequence[Any], Sequence[Any]]) -> None:
        nonlocal done
        for target, source in zip(*batch, strict=True):
            if target.nbytes > tuning.thread_bytes:
                populate(target)
            target[...] = source
        if display is not None:
            with lock:
                done += sum(map(attrgetter("nbytes"), batch[0]))
            if threading.get_ident() == caller:
                display.show(done, total)

    n_pieces = -(-total // tuning.fill_piece_bytes)
    in_threads(copy, _batches(targets, parts), max(min(n_pieces, cpu_count()), 1))
    if display is not None:
        display.show(total, total)


def _batches(
    targets: Sequence[SharedArray], parts: Sequence[NDArray[Any]]
) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
    """Yield runs of small parts, and pieces of large ones, of about equal numbers of bytes."""
    largest = tuning.fill_piece_bytes
    start, nbytes = 0, 0
    for at, part in enumerate(parts):
        nbytes += part.nbytes
        if nbytes > largest:
            yield targets[start:at], parts[start:at]
            start, nbytes = at, part.nbytes
            if nbytes > largest:
                yield from (
                    ([made], [piece]) for made, piece in _pieces(targets[at], part, largest)
                )
                start, nbytes = at + 1, 0
    yield targets[start:], parts[start:]


def _pieces(
    target: NDArray[Any], source: NDArray[Any], nbytes: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield the pieces of a large array, cut along its slowest axes."""
    axes = memory_order(target, "K")
    target, source = np.asarray(target).transpose(axes), source.transpose(axes)
    if source.flags.c_contiguous:
        target, source = target.reshape(-1), source.reshape(-1)
    for index in pieces(target, nbytes):
        yield target[(*index, ...)], source[index]
