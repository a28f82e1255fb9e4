"""What a reduction is: how a chunk becomes a state, how states combine, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reduction:
    """A reduction as four functions of chunks and states.

    Parameters
    ----------
    chunk : callable
        ``chunk(x)`` reduces one chunk to a state; usually an ``@njit`` function. `x` is a
        C-contiguous, read-only array of one dimension, and the state may be anything that can be
        pickled. With `lines` it is what the Notes say.
    combine : callable
        ``combine(state, state)`` is the state of two neighbouring chunks, the earlier one first.
        It has to be associative. States are combined in a tree over neighbours that
        depends on the number of chunks alone, so that the result has the same bits for any
        number of workers.
    finalize : callable, optional
        ``finalize(state)`` is the result; by default the state itself.
    identity : object, optional
        The state of an empty array. None (the default) says that there is none, and an empty
        array is then refused as `numpy.min` refuses it.
    lines, whole : bool, optional
        The form of the built-in reductions; see the Notes.
    direct : callable, optional
        With `whole`, ``direct(x, share)`` is what ``finalize(chunk(x, share))`` is, in less time
        where lines are short, as no states are written.

    Notes
    -----
    With ``lines=True``, ``chunk(x)`` gets an array of shape (n_outer, n, n_inner) of any strides
    and reduces its middle axis to a tuple of arrays of shape (n_outer, n_inner, ...); `combine`
    and `finalize` work elementwise on such tuples, `identity` is a tuple of scalars, and
    `finalize` gives one array or a tuple of them. All lines of a chunk are then reduced
    by one call, at the speed of memory. With ``whole=True``, ``chunk(x, share)`` may also be called
    with an array of any size, contiguous along its last axis of more than one, of which threads
    share the work: see `sharedmem.kernels.loops.pieces.Share`.

    Examples
    --------
    The range of an array in one pass over it:

    >>> import numba, operator
    >>> import numpy as np
    >>> import sharedmem
    >>> from sharedmem.kernels import Reduction
    >>> @numba.njit(nogil=True)
    ... def largest_magnitude(x):
    ...     return np.abs(x).max()
    >>> peak = Reduction(largest_magnitude, max)
    >>> float(sharedmem.reduce(peak, np.linspace(-3, 2, 1000)))
    3.0
    """

    chunk: Callable[..., Any]
    combine: Callable[[Any, Any], Any]
    finalize: Callable[[Any], Any] = lambda state: state
    identity: Any = None
    lines: bool = False
    whole: bool = False
    direct: Callable[..., Any] | None = None
