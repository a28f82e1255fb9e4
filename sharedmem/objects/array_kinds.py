"""Arrays of subclasses of ndarray: taken apart, and built on the memory of other arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import is_in_segment
from sharedmem.objects.references import register, shared_view

_ARRAY_RULES = "__reduce__", "__reduce_ex__", "__setstate__"


def reduce_array(array: NDArray[Any]) -> Any:
    """Return the reduced form of an array of a subclass, in which its memory is plain arrays.

    It is NotImplemented for ndarrays, and where the elements are objects.

    Raises
    ------
    TypeError
        If a pickle of the array would contain a copy of its memory.
    """
    reduced = by_parts(array)
    kind = type(array)
    is_held = kind is np.ndarray or array.dtype.hasobject or array is np.ma.masked
    if reduced is NotImplemented and not is_held:
        raise TypeError(
            f"the memory of a {kind.__module__}.{kind.__qualname__} cannot be shared, since the "
            "class has its own rules for pickles: share numpy.asarray(array), and make the object "
            "of that"
        )
    return reduced


def _plain_view(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(np.ndarray)


def by_parts(array: NDArray[Any], leaf: Callable[[Any], Any] = _plain_view) -> Any:
    """Return the reduced form of an array of a subclass, in which its memory is what `leaf` makes.

    It is NotImplemented for ndarrays, and for arrays that only the rules of their class describe.
    """
    kind = type(array)
    if kind is np.ndarray or array.dtype.hasobject or array is np.ma.masked:
        return NotImplemented
    if isinstance(array, np.ma.MaskedArray) and kind.__reduce__ is np.ma.MaskedArray.__reduce__:
        mask = array.mask if array.mask is np.ma.nomask else leaf(array.mask)
        fill_value = vars(array)["_fill_value"]
        fill = None if fill_value is None else (fill_value.item(), fill_value.dtype)
        return as_masked, (kind, leaf(array.data), mask, fill, array.hardmask)
    is_simple = all(getattr(kind, name) is getattr(np.ndarray, name) for name in _ARRAY_RULES)
    if is_simple or _is_quantity(array):
        return as_kind, (kind, leaf(array), getattr(array, "__dict__", None) or None)
    return NotImplemented


def _is_quantity(array: object) -> bool:
    """Return whether an array is a quantity of astropy, whose `__dict__` has all that it adds."""
    units = sys.modules.get("astropy.units")
    return units is not None and isinstance(array, units.Quantity)


def as_kind(kind: type[Any], array: NDArray[Any], attributes: dict[str, Any] | None) -> Any:
    """Return an array of a subclass with the memory of another array."""
    register(kind, _reduce_by_reference)
    made = np.asarray(array).view(kind)
    if attributes is not None:
        made.__dict__.update(attributes)
    return made


def as_masked(
    kind: type[Any],
    data: NDArray[Any],
    mask: Any,
    fill: tuple[Any, np.dtype[Any]] | None,
    is_hard: bool,
) -> Any:
    """Return a masked array with the memory of an array and of a mask."""
    register(kind, _reduce_by_reference)
    made = kind(np.asarray(data), mask=mask, copy=False, keep_mask=False, hard_mask=is_hard)
    # As it was: NumPy's own values for strings may be longer than the elements.
    vars(made)["_fill_value"] = fill and np.array(*fill)
    return made


def _reduce_by_reference(array: Any) -> Any:
    reduced = by_parts(array, shared_view) if is_in_segment(array) else NotImplemented
    return array.__reduce_ex__(5) if reduced is NotImplemented else reduced
