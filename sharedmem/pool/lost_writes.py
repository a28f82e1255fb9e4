"""Warn of private arrays that the tasks of a map write results to, which are lost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import is_shared_array
from sharedmem.errors import warn_caller

# Each array is copied, which must not take as long as a fork.
_LARGEST_BYTES = 1 << 20
_MOST_ARRAYS = 8

Changes: TypeAlias = dict[tuple[int, str], tuple[int, bytes]]
"""Which elements a worker has changed, packed to bits, by the number and the name of the array."""


class PrivateArrays:
    """The private arrays that a function refers to, with their contents before its tasks.

    Each worker changes a copy of its own. That may be intended: in a buffer for intermediate
    values all workers change the same elements. If each changes other elements, these are results.

    Parameters
    ----------
    func : callable
        Function of the tasks.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        self._before: list[tuple[str, NDArray[Any], NDArray[np.uint8]]] = []
        for name, array in _arrays_of(func):
            if len(self._before) == _MOST_ARRAYS:
                break
            if not any(array is each for _, each, _ in self._before) and not is_shared_array(array):
                self._before.append((name, array, _bytes_of(array).copy()))

    def changes(self) -> Changes:
        """Return which elements have changed, in the worker whose tasks have run."""
        found: Changes = {}
        for number, (name, array, before) in enumerate(self._before):
            now = _bytes_of(array)
            if now.shape == before.shape and not np.array_equal(now, before):
                is_changed = (now != before).any(axis=1)
                found[number, name] = len(is_changed), np.packbits(is_changed).tobytes()
        return found


def warn_of(workers: list[Changes]) -> None:
    """Warn of arrays in which each worker has changed other elements."""
    for place in dict.fromkeys(place for changes in workers for place in changes):
        parts = [changes[place] for changes in workers if place in changes]
        n_writers = sum(
            np.unpackbits(np.frombuffer(bits, np.uint8), count=size).astype(int)
            for size, bits in parts
        )
        if len(parts) > 1 and np.max(n_writers) == 1:
            warn_caller(
                f"tasks have written to {place[1]!r}, an array in private memory, each worker to "
                "other elements of its own copy: these results are lost. Make the array "
                "with sharedmem.empty or sharedmem.copy, or return the results"
            )


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the bytes of the elements, one element per row."""
    return np.ascontiguousarray(array).view(np.ndarray).reshape(-1, 1).view(np.uint8)


def _arrays_of(func: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the small arrays that a function may write to, with their names."""
    for name, value in _values_of(func):
        if isinstance(value, FunctionType) and value is not func:  # one that is called by it
            yield from (found for found in _values_of(value) if _is_candidate(found[1]))
        elif _is_candidate(value):
            yield name, value


def _values_of(func: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(func, functools.partial):
        yield from ((f"argument {at}", value) for at, value in enumerate(func.args))
        yield from func.keywords.items()
        func = func.func
    if isinstance(func, MethodType):
        yield from vars(func.__self__).items() if hasattr(func.__self__, "__dict__") else ()
        func = func.__func__
    if isinstance(func, FunctionType):
        code = func.__code__
        for name, cell in zip(code.co_freevars, func.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not yet set
                continue
        for name in code.co_names:
            if name in func.__globals__:
                yield name, func.__globals__[name]


def _is_candidate(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and 0 < value.nbytes <= _LARGEST_BYTES
        and value.flags.writeable
        and not value.dtype.hasobject
    )
