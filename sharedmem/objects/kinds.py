"""Kinds of objects that are not taken apart by the rules of their class alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.objects import arrow_kinds, pandas_kinds
from sharedmem.objects.array_kinds import reduce_array


def dismantled(obj: Any) -> Any:
    """Return the reduced form of an object with its memory as arrays or buffers.

    It is NotImplemented if the rules of the class do that.

    Raises
    ------
    TypeError
        If a pickle of the object would contain a copy of its memory.
    """
    if isinstance(obj, np.ndarray):
        return reduce_array(obj)
    rule = _RULES.get(type(obj).__module__.partition(".")[0])
    return NotImplemented if rule is None else rule(obj)


def _refuse_memory(obj: Any) -> Any:
    """Refuse an array that its package pickles as bytes, and whose memory is its own."""
    if hasattr(obj, "__array__") and not isinstance(obj, type):
        kind = type(obj)
        raise TypeError(
            f"the memory of a {kind.__module__}.{kind.__qualname__} cannot be shared: share "
            "numpy.asarray(x), and make the object of that where it is used"
        )
    return NotImplemented


# By package: it is imported where there is an object of it.
_RULES: dict[str, Callable[[Any], Any]] = {
    "jaxlib": _refuse_memory,
    "pandas": pandas_kinds.reduce_object,
    "polars": arrow_kinds.reduce_frame,
    "pyarrow": arrow_kinds.reduce_buffer,
    "torch": _refuse_memory,
}
