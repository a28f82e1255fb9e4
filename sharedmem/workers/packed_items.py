"""Items of a map, pickled once for all workers that stay, in blocks if there are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.arrays.shared_array import Layout, SharedArray, restore
from sharedmem.arrays.strides import root_of
from sharedmem.machine.signals import is_from_handler
from sharedmem.workers.batches import ATOMIC_TYPES, Pickled
from sharedmem.workers.functions import is_shared_view, pack_any, reduce_view
from sharedmem.workers.pickling import UnpackingError
from sharedmem.workers.task_loop import items_of

# Fewer items are unpickled together.
_LEAST_ITEMS = 32
_BLOCKS_PER_WORKER = 8


class PackedItems:
    """A sequence whose items are pickled; a process unpickles the blocks that it reads.

    Parameters
    ----------
    items : sequence
        The items.
    n_items : int
        Items per block.
    """

    def __init__(self, items: Sequence[Any], n_items: int) -> None:
        self._length = len(items)
        self._n_items = n_items
        self._blocks: list[Pickled] = []
        # A block is opened later than the message, and needs the shared arrays that came with it.
        self._held: dict[tuple[int, int], SharedArray] = {}
        for start in range(0, self._length, n_items):
            is_all = n_items >= self._length
            self._add(start, items if is_all else items[start : start + n_items])
        self._number = -1
        self._opened: Any = None

    def _add(self, start: int, items: Any) -> None:
        try:
            parcel = pack_any(items, _reduce_array if _has_places(items) else None)
        except BaseException as error:
            at, item = _culprit(items)
            error.add_note(
                f"Item {start + at}, of type {type(item).__name__}, is pickled to reach workers "
                "that stay: pass data, or use a pool with persistent=False."
            )
            raise
        self._blocks.append(Pickled(parcel.stream, parcel.buffers))
        for segment in parcel.segments:
            layout = Layout(0, (0,), (1,), np.dtype("u1"), writeable=True)
            self._held[segment.identity] = restore(segment, layout)

    def __len__(self) -> int:
        """Return the number of items."""
        return self._length

    def __getitem__(self, index: int) -> Any:
        """Return an item."""
        number, at = divmod(index, self._n_items)
        if number != self._number:
            try:
                self._opened = self._blocks[number].unpack(index)
            except UnpackingError as error:
                error.reason.add_note(f"Item {index} cannot be unpickled in a worker.")
                raise error.reason from None
            self._number = number
        return self._opened[at]


def _has_places(items: Any) -> bool:
    """Return whether items lie in files or in shared memory, where tasks may write to them."""
    is_list = type(items) in (list, tuple)
    return isinstance(items, np.ndarray) or (is_list and any(map(is_shared_view, items)))


def _reduce_array(array: NDArray[Any]) -> Any:
    file = ArrayFile.of(array)
    return reduce_view(array) if file is None else (ArrayFile.map, (file,))


def _culprit(items: Sequence[Any]) -> tuple[int, Any]:
    for at, item in enumerate(items):
        try:
            pack_any(item)
        except Exception:
            return at, item
    return 0, items


def packed(sequence: Any, n_workers: int) -> Any:
    """Return a sequence in the form in which it is pickled for workers."""
    kind = type(sequence)
    if kind in (list, tuple):
        if ATOMIC_TYPES.issuperset(map(type, sequence)):
            return sequence
        n_blocks = _BLOCKS_PER_WORKER * n_workers
        return PackedItems(sequence, max(_LEAST_ITEMS, -(-len(sequence) // n_blocks)))
    if is_shared_view(sequence):
        return sequence.view(SharedArray)
    if kind is range or _is_data(sequence):
        return sequence
    try:
        return PackedItems(sequence, max(len(sequence), 1))
    except Exception as error:
        if is_from_handler(error):
            raise
    # It cannot be pickled, but perhaps its items can.
    return packed(list(items_of(sequence, 0, len(sequence))), n_workers)


def _is_data(sequence: Any) -> bool:
    """Return whether a sequence is an array that contains its elements."""
    return (
        isinstance(sequence, np.ndarray)
        and not sequence.dtype.hasobject
        and not isinstance(root_of(sequence), np.memmap)
    )
