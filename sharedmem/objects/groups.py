"""Lists and dicts of many arrays in one block, which are pickled by one reference."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Sequence
from operator import is_
from typing import Any, ClassVar, SupportsIndex

import numpy as np

from sharedmem.arrays.shared_array import SharedArray
from sharedmem.objects.assembly import placed
from sharedmem.objects.dismantling import Dismantler, Place
from sharedmem.objects.references import ByReference, Reduced

# So many references take less than a KiB or two; types of shorter lists stay what they are.
_MANY = 64
_KEYS = frozenset({str, bytes, int, float, bool})
_ARRAYS = frozenset({np.ndarray, SharedArray, np.memmap})

# The class, the keys (None in a list), the numbers of the arrays, and where it is described.
Group = tuple[type[Any], list[Any] | None, list[int], int]


def assembled(group: Group, block: SharedArray, arrays: Sequence[Any]) -> Any:
    """Return the list or dict of a group, given the arrays by number."""
    kind, keys, members, offset = group
    return _made(kind, keys, [*map(arrays.__getitem__, members)], (block, offset))


def load_group(block: SharedArray, offset: int) -> Any:
    """Return the list or dict whose description is at an offset of a block."""
    kind, keys, dtypes, places, readonly = _description(block, offset)
    arrays = [placed(block, place, dtypes) for place in places]
    if readonly:
        for array in arrays:
            array.flags.writeable = False
    return _made(kind, keys, arrays, (block, offset))


def _description(block: SharedArray, offset: int) -> Any:
    return pickle.loads(np.asarray(block)[offset:].data)


def _made(kind: Any, keys: Any, arrays: list[Any], origin: tuple[SharedArray, int]) -> Any:
    made = kind(arrays if keys is None else zip(keys, arrays, strict=True))
    made.origin, made.keys_made, made.members = origin, keys, arrays
    return made


def _is_as_made(group: Any, keys: Iterable[Any] | None, arrays: Iterable[Any]) -> bool:
    """Return whether a group has the objects that it was made with, and these their form."""
    if len(group) != len(group.members) or not all(map(is_, arrays, group.members)):
        return False
    if keys is not None and not all(map(is_, keys, group.keys_made)):
        return False
    _, _, dtypes, places, readonly = _description(*group.origin)
    return all(
        _has_form(array, place, dtypes[place[2]]) and array.flags.writeable is not readonly
        for array, place in zip(group.members, places, strict=True)
    )


def _has_form(array: Any, place: Place, dtype: np.dtype[Any]) -> bool:
    _, shape, _, axes = place
    if array.shape != shape or array.dtype != dtype:
        return False
    if axes is None:
        return bool(array.flags.c_contiguous)
    return bool(array.transpose(axes).flags.c_contiguous)


class ArrayList(ByReference, list[Any]):
    """A list of arrays in one block: pickled by a reference while it is as it was made."""

    __slots__ = ("keys_made", "members", "origin")

    origin: tuple[SharedArray, int]

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        if _is_as_made(self, None, self):
            return load_group, self.origin
        return self.reduce_by_value()

    def reduce_by_value(self) -> Reduced:
        """Return the reduced form of a list."""
        return list, (), None, iter(self)

    def __copy__(self) -> list[Any]:
        return [*self]

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        memo[id(self)] = copied = list[Any]()
        copied.extend(copy.deepcopy(item, memo) for item in self)
        return copied


class ArrayDict(ByReference, dict[Any, Any]):
    """A dict of arrays in one block: pickled by a reference while it is as it was made."""

    __slots__ = ("keys_made", "members", "origin")

    origin: tuple[SharedArray, int]

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        if _is_as_made(self, self, self.values()):
            return load_group, self.origin
        return self.reduce_by_value()

    def reduce_by_value(self) -> Reduced:
        """Return the reduced form of a dict."""
        return dict, (), None, None, iter(self.items())

    def __copy__(self) -> dict[Any, Any]:
        return {**self}

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        memo[id(self)] = copied = dict[Any, Any]()
        copied.update((key, copy.deepcopy(item, memo)) for key, item in self.items())
        return copied


class GroupDismantler(Dismantler):
    """A Dismantler that takes lists and dicts of many arrays as groups."""

    def __init__(self, readonly: bool) -> None:
        super().__init__()
        self._readonly = readonly
        self.groups: list[Group] = []

    def add_list(self, items: list[Any]) -> int | None:
        """Return the number of a list of many arrays, which is negative; None for another list."""
        return self._add_group(ArrayList, items, None, items)

    def add_dict(self, items: dict[Any, Any]) -> int | None:
        """Return the number of a dict of many arrays by strings or numbers; None for another."""
        if len(items) < _MANY or not {*map(type, items)} <= _KEYS:
            return None
        return self._add_group(ArrayDict, items, [*items], [*items.values()])

    def _add_group(
        self, kind: type[Any], owner: object, keys: list[Any] | None, arrays: list[Any]
    ) -> int | None:
        if len(arrays) < _MANY or not {*map(type, arrays)} <= _ARRAYS:
            return None
        if (known := self._numbers.get(id(owner))) is not None:
            return known
        members = [number for array in arrays if (number := self.add_array(array)) is not None]
        if len(members) < len(arrays):
            return None
        places = [*map(self.places.__getitem__, members)]
        content = pickle.dumps((kind, keys, self.dtypes, places, self._readonly))
        self.groups.append((kind, keys, members, self.nbytes))
        self.add_array(np.frombuffer(content, np.uint8))
        self._alive.append(owner)
        number = self._numbers[id(owner)] = -len(self.groups)
        return number

    RULES: ClassVar = {
        **Dismantler.RULES,
        list: add_list,
        ArrayList: add_list,
        dict: add_dict,
        ArrayDict: add_dict,
    }
