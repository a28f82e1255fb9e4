"""Check arguments: return a valid one in one form, and refuse others."""

from __future__ import annotations

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
