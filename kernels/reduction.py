"""Reductions: how a chunk becomes a state, how states combine, and what the last one stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np

from sharedmem.kernels.loops.layout import Array

State = tuple[Array, ...]


def _itself(state: Any) -> Any:
    return state


@dataclass(frozen=True)
class Reduction:
    """A reduction as functions of chunks and states.

    Parameters
    ----------
    chunk : callable
        ``chunk(x)`` reduces one chunk to a state; usually an ``@njit`` function. `x` is a
        C-contiguous, read-only array of one dimension. The state may be any object that can be
        pickled. Of several arrays, ``chunk(x, w)`` gets a piece of each, of the same length.
    combine : callable
        ``combine(state, state)`` is the state of two neighboring chunks, the earlier one first.
        It must be associative. States are combined in a tree whose shape depends on the number
        of chunks alone, so that the result has the same bits for any number of workers.
    finalize : callable, optional
        ``finalize(state)`` is the result; by default the state itself.
    identity : object, optional
        The state of an empty array. By default, None: an empty array is refused, as by
        `numpy.min`.
    lines : bool, optional
        If True, a :class:`~sharedmem.kernels.reduction.LineReduction` is made, whose functions
        work on many lines at once. By default False.

    Raises
    ------
    TypeError
        If `lines` is True for a class that is not derived from `LineReduction`.

    See Also
    --------
    reduce : Reduce an array by a reduction.
    sharedmem.kernels.reduction.LineReduction : Reduce many lines at once.

    Examples
    --------
    The largest magnitude in an array, without an array of magnitudes:

    >>> import numba
    >>> import numpy as np
    >>> import sharedmem
    >>> @numba.njit(nogil=True)
    ... def largest_magnitude(x):
    ...     return np.abs(x).max()
    >>> peak = sharedmem.Reduction(largest_magnitude, max)
    >>> float(sharedmem.reduce(peak, np.linspace(-3, 2, 1000)))
    3.0
    """

    chunk: Callable[..., Any]
    combine: Callable[[Any, Any], Any]
    finalize: Callable[[Any], Any] = _itself
    identity: Any = None
    lines: InitVar[bool] = False

    def __new__(cls, *args: Any, lines: bool = False, **fields: Any) -> Reduction:
        """Make a :class:`LineReduction` if `lines`."""
        of_lines = lines or (len(args) > 4 and args[4])
        return object.__new__(LineReduction if of_lines and cls is Reduction else cls)

    def __post_init__(self, lines: bool) -> None:
        """Refuse `lines` in a class that has its own methods for single chunks."""
        if lines and not isinstance(self, LineReduction):
            name = type(self).__name__
            raise TypeError(
                f"lines=True, but {name} is not a reduction of lines: derive it from "
                "sharedmem.kernels.reduction.LineReduction"
            )


@dataclass(frozen=True)
class LineReduction(Reduction):
    """A reduction of lines: of the middle axis of arrays of shape (n_outer, n, n_inner).

    ``chunk(x)`` reduces the middle axis of `x`, which has any strides, to a tuple of arrays of
    shape (n_outer, n_inner, ...). Of several arrays, ``chunk(x, w)`` gets a part of each, of the
    same shape. `combine` and `finalize` work elementwise on such tuples,
    `identity` is a tuple of scalars, and `finalize` gives an array or a tuple of arrays.

    Parameters
    ----------
    chunk, combine, finalize, identity : object
        See :class:`~sharedmem.Reduction`.
    lines : bool, optional
        True.
    whole : bool, optional
        Whether ``chunk(x, share)`` takes a single array of any size that is contiguous along its
        last axis of more than one element. ``share(code, block)`` calls machine code with the
        address of a block in several threads, which share the work. By default False.
    direct : callable, optional
        With `whole`, ``direct(x, share)`` returns what ``finalize(chunk(x, share))`` does, and
        writes no states where lines are short.
    spec : callable, optional
        With `whole`, ``spec(n)`` describes the kernel that alone gives the results of lines of `n`
        elements.

    See Also
    --------
    sharedmem.Reduction : Reduce chunks of one dimension.

    Examples
    --------
    The range of each column, of all columns at once:

    >>> import numpy as np
    >>> import sharedmem
    >>> span = sharedmem.Reduction(
    ...     chunk=lambda x: (x.min(axis=1), x.max(axis=1)),
    ...     combine=lambda a, b: (np.minimum(a[0], b[0]), np.maximum(a[1], b[1])),
    ...     finalize=lambda state: state[1] - state[0],
    ...     lines=True,
    ... )
    >>> sharedmem.reduce(span, np.array([[1.0, 5.0], [4.0, 2.0]]), axis=0)
    array([3., 3.])
    """

    lines: InitVar[bool] = True
    whole: bool = False
    direct: Callable[..., Any] | None = None
    spec: Callable[[int], Any] | None = None


def only_part(state: State) -> Array:
    """Return the only array of a state."""
    return state[0]


def add_counts(a: State, b: State) -> State:
    """Combine the states of counts."""
    return (np.add(a[0], b[0]),)
