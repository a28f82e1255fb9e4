"""Arguments: what is invalid is refused, what is valid is returned in one form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def check_count(name: str, value: Any, smallest: int) -> int:
    """Return an integer that is not too small."""
    try:
        count = value.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {count}")
    return int(count)


def check_function(func: Callable[..., Any], star: bool) -> Callable[[Any], Any]:
    """Return a function of one item."""
    if not callable(func):
        raise TypeError(f"func must be callable, got {func!r}; it comes first, then the sequence")
    return (lambda item: func(*item)) if star else func


def check_optional(name: str, func: Any) -> None:
    """Refuse what is neither None nor callable."""
    if func is not None and not callable(func):
        raise TypeError(f"{name} must be callable, got {func!r}")


def check_pool(backend: Any, initializer: Any, timeout: float | None) -> None:
    """Refuse what makes no teams, as a number of workers, cannot be called, or is no time."""
    if not hasattr(backend, "uses_processes"):
        raise TypeError(
            f"backend must be ProcessBackend, ThreadBackend or DaskBackend, got {backend!r}; the "
            "number of workers is given by name: MapReduce(np=4)"
        )
    check_optional("initializer", initializer)
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")


def check_sequence(sequence: Any) -> Any:
    """Return something that has a length and can be indexed by 0, 1, 2."""
    if isinstance(sequence, Mapping):
        raise TypeError(
            f"a {type(sequence).__name__} has no order to index: pass list(it), or "
            "list(it.items()) with star=True"
        )
    if hasattr(sequence, "__getitem__") and hasattr(sequence, "__len__"):
        return sequence
    if isinstance(sequence, Iterable):
        return list(sequence)
    raise TypeError(f"map needs a sequence or something to iterate over, got {sequence!r}")
