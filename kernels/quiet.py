"""Calls in which NumPy is quiet about floating-point errors, and after which it is as before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")
ErrorState = tuple[tuple[ContextVar[Any], Any], ...]


def error_state(mode: Any, receiver: Any = None) -> ErrorState:
    """Return what ``numpy.errstate(all=mode, call=receiver)`` sets."""
    context = Context()
    context.run(np.seterrcall, receiver)
    context.run(np.seterr, all=mode)
    return tuple(context.items())


def called_in(
    state: ErrorState, function: Callable[P, T], /, *args: P.args, **named: P.kwargs
) -> T:
    """Call a function in an error state.

    No exception can leave the caller's state changed, since it is not touched: the function runs in
    a copy. One that a signal's handler raises in `numpy.errstate` itself, which is written in
    Python, would leave the state of the block.
    """
    context = copy_context()
    for variable, value in state:
        context.run(variable.set, value)
    return context.run(function, *args, **named)


_quiet = error_state("ignore")


def quietly(function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """Call a function in which NumPy ignores floating-point errors."""
    return called_in(_quiet, function, *args, **named)


def quiet(function: Callable[P, T]) -> Callable[P, T]:
    """Make NumPy ignore floating-point errors in a function."""

    @functools.wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> T:
        return quietly(function, *args, **named)  # no global that cannot be pickled

    return call
