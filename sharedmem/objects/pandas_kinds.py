"""Objects of pandas that would copy their memory, or forget that it is shared, when unpickled."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.arrays.shared_array import SharedArray, is_in_segment
from sharedmem.objects.arrow_kinds import is_shared_table
from sharedmem.objects.references import Reduced, register, shared_view

# The indices of sparse arrays.
_SPARSE_INDICES = frozenset({"IntIndex", "BlockIndex"})


def reduce_object(obj: Any) -> Any:
    """Return the reduced form of an object of pandas; NotImplemented if its own rules will do."""
    import pandas

    if isinstance(obj, pandas.arrays.ArrowExtensionArray):
        return as_made, (type(obj), *_reduce_chunks(obj))
    if isinstance(obj, pandas.Index) or type(obj).__name__ in _SPARSE_INDICES:
        return as_made, (type(obj), *obj.__reduce__()[:2])
    return NotImplemented


def _reduce_chunks(array: Any) -> Reduced:
    """Reduce an array on memory of Arrow, without the copy in one chunk that pandas would make."""
    chunks = vars(array)["_pa_array"].chunks
    if not chunks:
        return tuple(array.__reduce_ex__(2)[:3])
    state = {name: value for name, value in vars(array).items() if name != "_cache"}
    return object.__new__, (type(array),), {**state, "_pa_array": chunks}


def as_made(
    kind: type[Any], make: Callable[..., Any], args: tuple[Any, ...], state: Any = None
) -> Any:
    """Return an object of pandas, made by its own rules."""
    register(kind, _by_chunks if state is not None else _by_arguments)
    made = make(*map(_plain, args))
    if state is not None:
        made.__setstate__(state)
    return made


def _by_chunks(array: Any) -> Any:
    if not is_shared_table([vars(array)["_pa_array"]]):
        return array.__reduce_ex__(2)
    return as_made, (type(array), *_reduce_chunks(array))


def _by_arguments(obj: Any) -> Any:
    make, args, *rest = obj.__reduce__()
    shared = tuple(map(_shared, args))
    if all(map(operator.is_, shared, args)):
        return make, args, *rest
    return as_made, (type(obj), make, shared)


def _is_shared(value: Any) -> bool:
    return type(value) is np.ndarray and is_in_segment(value)


def _shared(argument: Any) -> Any:
    """Return an argument, with plain arrays that are in shared memory as SharedArrays."""
    if isinstance(argument, dict) and any(map(_is_shared, argument.values())):
        return {key: _shared(value) for key, value in argument.items()}
    return shared_view(argument) if _is_shared(argument) else argument


def _plain(argument: Any) -> Any:
    """Return an argument with plain arrays, each with a base of its own.

    Of two arrays with the same base, pandas would copy one.
    """
    if isinstance(argument, dict):
        return {key: _plain(value) for key, value in argument.items()}
    return np.asarray(argument) if isinstance(argument, SharedArray) else argument
