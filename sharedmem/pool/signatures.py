"""Signatures and docstrings of array functions, which the engine states, for those that call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sharedmem.engine.runners import ArrayRunner

P = ParamSpec("P")
R = TypeVar("R")


def as_function(
    of: Callable[Concatenate[ArrayRunner, P], R],
) -> Callable[[Callable[..., Any]], Callable[P, R]]:
    """Return a decorator that gives a function the docstring of `of`, and its signature.

    Parameters
    ----------
    of : callable
        A function of the engine, whose first parameter, the runner, is left out.
    """
    return _described(of)


def as_method(
    of: Callable[Concatenate[ArrayRunner, P], R],
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Any, P], R]]:
    """Return a decorator that gives a method the docstring of `of`, and its signature.

    Parameters
    ----------
    of : callable
        A function of the engine, whose first parameter, the runner, becomes `self`.
    """
    return _described(of, inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD))


def _described(of: Callable[..., Any], *first: inspect.Parameter) -> Callable[[Any], Any]:
    signature = inspect.signature(of)
    _, *others = signature.parameters.values()

    def described(forward: Any) -> Any:
        forward.__signature__ = signature.replace(parameters=[*first, *others])
        forward.__doc__ = of.__doc__
        return forward

    return described
