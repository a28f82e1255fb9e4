"""Arguments: what is invalid is refused, what is valid is returned in one form."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from numbers import Real
from typing import Any

import numpy as np


def check_count(name: str, value: Any, smallest: int) -> int:
    """Return an integer that is not too small."""
    try:
        count = value.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {count}")
    return int(count)


def check_flag(name: str, value: Any, hint: str = "") -> bool:
    """Return a bool; a number there is meant for another parameter, which `hint` names."""
    if isinstance(value, bool | np.bool):
        return bool(value)
    raise ValueError(f"{name} must be True or False, got {value!r}{hint}")


def check_function(func: Callable[..., Any], star: Any) -> Callable[[Any], Any]:
    """Return a function of one item."""
    if not callable(func):
        raise TypeError(f"func must be callable, got {func!r}; it comes first, then the sequence")
    is_spread = check_flag("star", star, "; a number of tasks is given by name: chunksize=16")
    return (lambda item: func(*item)) if is_spread else func


def check_optional(name: str, func: Any) -> None:
    """Refuse what is neither None nor callable."""
    if func is not None and not callable(func):
        raise TypeError(f"{name} must be callable, got {func!r}")


def check_pool(backend: Any, initializer: Any) -> None:
    """Refuse what makes no teams, as a number of workers, or cannot be called."""
    if not hasattr(backend, "uses_processes"):
        raise TypeError(
            f"backend must be ProcessBackend, ThreadBackend or DaskBackend, got {backend!r}; the "
            "number of workers is given by name: MapReduce(np=4)"
        )
    check_optional("initializer", initializer)


def check_cluster_options(np: int | None, trace: bool) -> None:
    """Refuse what a cluster decides, or does not tell."""
    if np:
        raise ValueError(
            f"np={np} was given, but a cluster has as many workers as it has threads: leave np "
            "out, start the cluster with so many, or give np=0 to work serially"
        )
    if trace:
        raise ValueError(
            "trace=True is for workers of this machine; for those of a cluster, see the dashboard "
            "of Dask, or distributed.performance_report"
        )


def check_timeout(timeout: Any, smallest: float | None = None) -> float | None:
    """Return seconds, None where there is no limit; they are positive, or at least `smallest`."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"timeout must be a number of seconds, or None, got {timeout!r}")
    try:
        seconds = float(timeout)
    except OverflowError:
        seconds = inf if timeout > 0 else -inf  # type: ignore[operator]
    if not (seconds > 0 if smallest is None else seconds >= smallest):
        rule = "positive" if smallest is None else f"at least {smallest:g}"
        raise ValueError(f"timeout must be {rule}, in seconds, got {timeout!r}")
    return seconds


# Their subclasses may index in another way than they iterate; a deque is slow to index.
_IN_MEMORY = list, tuple, deque


def check_sequence(sequence: Any) -> Sequence[Any]:
    """Return the items that iterating gives, with a length, and indexed by 0, 1, 2.

    What counts its items from 0 is returned as it is, so that workers read the items. To index
    anything else may mean something else: a Series of pandas, for example, goes by its labels.
    """
    if isinstance(sequence, Mapping):
        raise TypeError(
            f"a {type(sequence).__name__} has no order to index: pass list(it), or "
            "list(it.items()) with star=True"
        )
    if counts_from_zero(sequence):
        return sequence  # type: ignore[no-any-return]
    return list(check_iterable("map needs a sequence or something", sequence))


def counts_from_zero(sequence: Any) -> bool:
    """Return whether the items that iterating gives are those at 0, 1, 2 up to the length."""
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
