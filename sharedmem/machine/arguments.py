"""Check arguments: return a valid one in one form, and refuse others."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any


def check_count(name: str, value: Any, smallest: int) -> int:
    """Return an integer that is at least `smallest`."""
    try:
        count = value.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {count}")
    return int(count)


def check_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape, an integer or several, as a tuple of nonnegative integers."""
    if type(shape) is int and shape >= 0:
        return (shape,)
    try:
        is_one = not isinstance(shape, Iterable)
        sizes = tuple(map(operator.index, (shape,) if is_one else shape))
    except TypeError:
        raise TypeError(f"shape must be an integer or integers, got {shape!r}") from None
    if min(sizes, default=0) < 0:
        raise ValueError(f"negative dimensions are not allowed, got shape {sizes}")
    return sizes
