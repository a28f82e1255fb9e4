"""Sequences in one piece of shared memory, whose items are made when they are indexed."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, SupportsIndex, overload

import numpy as np

from sharedmem.arrays.shared_array import SharedArray
from sharedmem.kernels.loops.layout import address_of
from sharedmem.machine.units import in_bytes
from sharedmem.objects.assembly import Assembler, copied, placed
from sharedmem.objects.dismantling import Dismantler
from sharedmem.objects.references import ByReference, Reduced

_INTEGER = 8  # bytes


class SharedList(ByReference, Sequence[Any]):
    """An immutable sequence in one piece of shared memory; an item is made when it is indexed.

    Workers neither load nor copy what they do not index, and no reference counts are written: the
    items of a list of Python objects would be copied to each forked worker, page by page.

    Parameters
    ----------
    iterable : iterable
        The items: arrays, or anything that can be pickled. All items are pickled before memory is
        allocated.

    Raises
    ------
    TypeError, pickle.PicklingError
        If an item cannot be pickled, or its memory cannot be shared.
    MemoryError
        If less memory is available than the items take.

    See Also
    --------
    share : Share an object, whose parts are all made at once.

    Notes
    -----
    Arrays, also those inside of items, are SharedArrays: what is written to them is seen in all
    processes. Everything else in an item is a new copy at each access. A slice is a SharedList of
    the same memory.

    It is pickled by reference, as a :class:`SharedArray` is.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> samples = sharedmem.SharedList((np.arange(i), f"sample {i}") for i in range(1000))
    >>> samples[3]
    (SharedArray([0, 1, 2]), 'sample 3')
    >>> len(samples), len(samples[::2])
    (1000, 500)
    """

    __slots__ = ("__weakref__", "_block", "_dtypes", "_indices", "_records", "_starts", "_table")

    _block: SharedArray
    # Where the records of items start and stop, and then the records.
    _table: SharedArray
    _starts: memoryview[int]
    _records: memoryview
    _dtypes: Sequence[np.dtype[Any]]
    _indices: range

    def __init__(self, iterable: Iterable[Any]) -> None:
        dismantler = _ItemDismantler()
        records = [dismantler.record_of(item) for item in iterable]
        lengths = [_INTEGER * (len(records) + 1), *map(len, records)]
        starts = np.fromiter(accumulate(lengths), np.int64, len(lengths))
        dismantler.add_array(np.frombuffer(starts.tobytes() + b"".join(records), np.uint8))
        block, arrays = copied(dismantler)
        self.__setstate__((block, arrays[-1], dismantler.dtypes, range(len(records))))

    def __getstate__(self) -> Any:
        return self._block, self._table, self._dtypes, self._indices

    def __setstate__(self, state: Any) -> None:
        self._block, self._table, self._dtypes, self._indices = state
        self._records = np.asarray(self._table).data
        (n_bytes,) = self._records[:_INTEGER].cast("q")
        self._starts = self._records[:n_bytes].cast("q")

    def reduce_by_value(self) -> Reduced:
        """Return the reduced form of a SharedList of memory of its own."""
        return SharedList, ([*self],)

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedList:
        return SharedList(self)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._indices)

    @overload
    def __getitem__(self, key: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> SharedList: ...
    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        """Return an item, or for a slice a SharedList of the same memory."""
        if isinstance(key, slice):
            part = SharedList.__new__(SharedList)
            part.__setstate__((*self.__getstate__()[:-1], self._indices[key]))
            return part
        try:
            at = self._indices[key]
        except IndexError:
            raise IndexError(f"item {key} is not in this SharedList of {len(self)} items") from None
        record = self._records[self._starts[at] : self._starts[at + 1]]
        places, frozen, stream = marshal.loads(record)
        arrays = [placed(self._block, place, self._dtypes) for place in places]
        for number in frozen:
            arrays[number].flags.writeable = False
        return Assembler(stream, arrays.__getitem__).load() if stream else arrays[0]

    def __setitem__(self, key: SupportsIndex, value: object) -> None:
        """Accept an item that is an array, after it was changed in place, as in ``x[i] += 1``.

        Raises
        ------
        TypeError
            If `value` is not that array.
        """
        item = self[key]
        if not (isinstance(value, np.ndarray) and isinstance(item, np.ndarray)):
            raise TypeError(
                f"item {key} of a SharedList, a {type(item).__name__}, cannot be replaced: items "
                "are fixed, and only arrays among them can be written to"
            )
        if _form(value) != _form(item):
            raise TypeError(
                f"item {key} of a SharedList is an array that cannot be replaced: write to it by "
                f"x[{key}][...] = value"
            )

    def __repr__(self) -> str:
        return f"<SharedList of {len(self)} items, {in_bytes(self._block.nbytes)} in all>"


def _form(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    return address_of(array), array.shape, array.strides, array.dtype


class _ItemDismantler(Dismantler):
    """A Dismantler of items, each with numbers of its own for its parts."""

    def __init__(self) -> None:
        super().__init__()
        self._own: dict[int, int] = {}

    def persistent_id(self, obj: object) -> int | None:
        """Return the number of a part among those of the item."""
        number = super().persistent_id(obj)
        return None if number is None else self._own.setdefault(number, len(self._own))

    def record_of(self, item: object) -> bytes:
        """Return what an item is made of: the places of its parts, and a stream if it has one."""
        self._own.clear()
        is_array = self.persistent_id(item) == 0
        stream = None if is_array else self.stream_of(item)
        places = [*map(self.places.__getitem__, self._own)]
        frozen = [own for number, own in self._own.items() if number in self.frozen]
        return marshal.dumps((places, frozen, stream))
