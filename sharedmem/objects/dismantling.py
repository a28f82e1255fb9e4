"""Take an object apart: a pickle stream, and the arrays and buffers that stay out of it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import SharedArray, _PrivateArray
from sharedmem.arrays.strides import memory_order
from sharedmem.objects import kinds
from sharedmem.objects.references import ByReference

# Each part begins in a cache line of its own, as Arrow recommends, too.
_ALIGNMENT = 64

# What an array is without its memory: its offset in the block, its shape, the number of its dtype,
# and its axes from slowest to fastest, or None in C order.
Place = tuple[int, tuple[int, ...], int, tuple[int, ...] | None]


class Dismantler(pickle.Pickler):
    """A pickler that numbers the parts of objects, arrays and buffers, instead of pickling them.

    Attributes
    ----------
    nbytes : int
        Bytes of the parts in one block.
    parts : list of ndarray
        The parts, by number.
    places : list
        Their places in the block.
    frozen : set of int
        The numbers of those that nobody may write to.
    dtypes : list of dtype
        The dtypes, by number.
    """

    def __init__(self) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, 5)
        self.nbytes = 0
        self.parts: list[NDArray[Any]] = []
        self.places: list[Place] = []
        self.frozen: set[int] = set()
        self.dtypes: list[np.dtype[Any]] = []
        # By identity: of parts, and of what `_alive` keeps.
        self._numbers: dict[Any, int] = {}
        self._dtype_numbers: dict[int, int] = {}
        self._alive: list[object] = []

    def stream_of(self, obj: object) -> bytes:
        """Return the stream of an object; what was seen before is pickled anew."""
        self._file.seek(0)
        self._file.truncate()
        self.clear_memo()
        self.dump(obj)
        return self._file.getvalue()

    def persistent_id(self, obj: object) -> Any:
        """Return the number of a part; None for what is pickled."""
        rule = self.RULES.get(type(obj))
        return None if rule is None else rule(self, obj)

    def reducer_override(self, obj: Any) -> Any:
        """Return the reduced form of an object whose kind has a rule, or else NotImplemented."""
        if isinstance(obj, ByReference):
            return obj.reduce_by_value()
        return kinds.dismantled(obj)

    def add_array(self, array: NDArray[Any]) -> int | None:
        """Return the number of an array; None if its elements are objects, or have no size."""
        number = self._numbers.get(id(array))
        if number is not None:
            return number
        dtype_number = self._dtype_numbers.get(id(array.dtype))
        if dtype_number is None:
            dtype = array.dtype
            if dtype.hasobject or not dtype.itemsize:
                return None
            dtype_number = self._dtype_numbers[id(dtype)] = self._number_of(dtype)
        axes = None if array.flags.c_contiguous else tuple(memory_order(array, "K"))
        number = self._numbers[id(array)] = len(self.parts)
        self.parts.append(array)
        self.places.append((self.nbytes, array.shape, dtype_number, axes))
        self.nbytes += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        return number

    def _number_of(self, dtype: np.dtype[Any]) -> int:
        # Structured dtypes are equal whether their elements are records or not.
        if dtype.fields is None and dtype in self.dtypes:
            return self.dtypes.index(dtype)
        self.dtypes.append(dtype)
        return len(self.dtypes) - 1

    def add_buffer(self, buffer: pickle.PickleBuffer) -> int | None:
        """Return the number of a buffer; that of an equal one if nobody may write to them."""
        raw = buffer.raw()
        array = np.asarray(raw)
        key = (array.__array_interface__["data"][0], raw.nbytes) if raw.readonly else id(buffer)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.parts)
            self._alive.append(buffer)
            self.add_array(array)
            if raw.readonly:
                self.frozen.add(number)
        return number

    RULES: ClassVar[dict[type, Callable[..., Any]]] = {
        np.ndarray: add_array,
        np.memmap: add_array,
        SharedArray: add_array,
        _PrivateArray: add_array,
        pickle.PickleBuffer: add_buffer,
    }
