"""Check the arguments of a pool: return valid ones in one form, and refuse others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import inf
from numbers import Real
from typing import Any

import numpy as np

from sharedmem.pool.backends import Backend, TeamBackend


def check_flag(name: str, value: Any, hint: str = "") -> bool:
    """Return a bool; `hint` tells where a number, which belongs to another parameter, goes."""
    if isinstance(value, bool | np.bool):
        return bool(value)
    raise ValueError(f"{name} must be True or False, got {value!r}{hint}")


def check_function(func: Callable[..., Any], star: Any) -> Callable[[Any], Any]:
    """Return a function of one item."""
    if not callable(func):
        raise TypeError(f"func must be callable, got {func!r}; it comes first, then the sequence")
    is_spread = check_flag("star", star, "; a number of tasks is given by name: chunksize=16")
    return partial(_spread, func) if is_spread else func


def _spread(func: Callable[..., Any], item: Any) -> Any:
    return func(*item)


def check_optional(name: str, func: Any) -> None:
    """Raise TypeError if `func` is neither None nor callable."""
    if func is not None and not callable(func):
        raise TypeError(f"{name} must be callable, got {func!r}")


def check_backend(backend: Any) -> None:
    """Raise TypeError if `backend` is not a backend, but a number of workers, for example."""
    if not (is_team_backend(backend) or isinstance(backend, Backend)):
        raise TypeError(
            "backend must be ProcessBackend, SpawnBackend, ThreadBackend, or DaskBackend, got "
            f"{backend!r}; give the number of workers by name: MapReduce(np=4)"
        )


def check_persistent(backend: Any, persistent: Any) -> bool:
    """Return whether workers stay between calls; refuse it where they are not processes here."""
    is_persistent = check_flag("persistent", persistent) or getattr(backend, "must_stay", False)
    if is_persistent and not getattr(backend, "may_stay", False):
        raise ValueError(
            "persistent=True needs workers that are processes of this machine: use ProcessBackend, "
            "or leave it out. Threads start in no time, and the workers of a cluster stay anyway"
        )
    return is_persistent


def is_team_backend(backend: Any) -> bool:
    """Return whether `backend` is a class or an object whose workers are a team of this machine."""
    return issubclass(backend if isinstance(backend, type) else type(backend), TeamBackend)


def check_timeout(
    timeout: Any, smallest: float | None = None, name: str = "timeout"
) -> float | None:
    """Return seconds that are positive, or at least `smallest`; None stands for no limit."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"{name} must be a number of seconds, or None, got {timeout!r}")
    try:
        seconds = float(timeout)
    except OverflowError:
        seconds = inf if timeout > 0 else -inf  # type: ignore[operator]
    if not (seconds > 0 if smallest is None else seconds >= smallest):
        rule = "positive" if smallest is None else f"at least {smallest:g}"
        raise ValueError(f"{name} must be {rule}, in seconds, got {timeout!r}")
    return seconds


# Subclasses of these may index in another order than they iterate; a deque is slow to index.
_IN_MEMORY = list, tuple, deque


def check_sequence(sequence: Any) -> Sequence[Any]:
    """Return the items of `sequence` in a form that has a length and is indexed from 0.

    A sequence that is indexed so already is returned unchanged, and workers read its items. Others
    are converted to lists, since their index may mean something else: a Series has labels.
    """
    if isinstance(sequence, Mapping):
        raise TypeError(
            f"a {type(sequence).__name__} cannot be indexed by position: pass list(it), or "
            "list(it.items()) with star=True"
        )
    if counts_from_zero(sequence):
        return sequence  # type: ignore[no-any-return]
    return list(check_iterable("map needs a sequence or something", sequence))


def counts_from_zero(sequence: Any) -> bool:
    """Return whether iterating yields the items at 0, 1, 2 up to the length."""
    kind = type(sequence)
    if isinstance(sequence, _IN_MEMORY):
        return kind in (list, tuple)
    if isinstance(sequence, np.ndarray):
        return sequence.ndim > 0
    if isinstance(sequence, Sequence) or kind.__module__.startswith("h5py."):
        return True
    # Without `__iter__`, to iterate is to index.
    has_length = hasattr(kind, "__getitem__") and hasattr(kind, "__len__")
    return has_length and not hasattr(kind, "__iter__")


def check_iterable(needs: str, items: Any) -> Iterator[Any]:
    """Return an iterator of `items`; `needs` begins the error where there is none."""
    try:
        return iter(items)
    except TypeError as error:
        raise TypeError(f"{needs} to iterate over, got {items!r}") from error
