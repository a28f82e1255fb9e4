"""Array functions as methods of a pool; the engine states their signatures and docstrings."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sharedmem.engine.apply_ufunc import apply_ufunc
from sharedmem.engine.map_chunks import map_chunks
from sharedmem.engine.map_overlap import map_overlap
from sharedmem.engine.reduce_array import reduce_array
from sharedmem.engine.runners import ArrayRunner

P = ParamSpec("P")
R = TypeVar("R")
Decorator = Callable[[Callable[..., Any]], Any]


def as_function(
    of: Callable[Concatenate[ArrayRunner, P], R],
) -> Callable[[Callable[..., Any]], Callable[P, R]]:
    """Return a decorator that gives a function the docstring of `of`, and its signature less one.

    Parameters
    ----------
    of : callable
        A function of the engine, whose first parameter, the runner, is left out.
    """
    signature = inspect.signature(of)
    _, *parameters = signature.parameters.values()
    return _described(signature.replace(parameters=parameters), of.__doc__)


def as_method(
    of: Callable[Concatenate[ArrayRunner, P], R],
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Any, P], R]]:
    """Return a decorator that gives a method the docstring of `of`, and its signature.

    Parameters
    ----------
    of : callable
        A function of the engine, whose first parameter, the runner, becomes `self`.
    """
    signature = inspect.signature(of)
    _, *parameters = signature.parameters.values()
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return _described(signature.replace(parameters=[this, *parameters]), of.__doc__)


def _described(signature: inspect.Signature, doc: str | None) -> Decorator:
    def described(forward: Any) -> Any:
        forward.__signature__, forward.__doc__ = signature, doc
        return forward

    return described


class ArrayMethods(ABC):
    """Array functions on the workers of a pool, or in threads of the caller."""

    @property
    @abstractmethod
    def runner(self) -> ArrayRunner:
        """The runner of the next call."""

    @as_method(of=map_chunks)
    def map_chunks(self, *args: Any, **options: Any) -> Any:  # noqa: D102 - see `as_method`
        return map_chunks(self.runner, *args, **options)

    @as_method(of=map_overlap)
    def map_overlap(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return map_overlap(self.runner, *args, **options)

    @as_method(of=apply_ufunc)
    def apply_ufunc(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return apply_ufunc(self.runner, *args, **options)

    @as_method(of=reduce_array)
    def reduce(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return reduce_array(self.runner, *args, **options)
