"""What a line kernel has to do, in pieces that threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.loops.lanes import CALLER, DONE, LANES
from sharedmem.kernels.loops.layout import flatten
from sharedmem.kernels.loops.lines import LineKernel
from sharedmem.kernels.loops.rows import BATCH
from sharedmem.kernels.loops.vectors import WIDTH

Array = NDArray[Any]

# So many elements of a long line are reduced at once, by one of the threads that share the work: a
# core reads them in 10 us. To the threads of Python, taking turns costs five times as much.
PIECE = 1 << 15
# Of long columns, so many elements: at least HEIGHT of each, so that states are few beside what
# they are made of, and at most WIDTH side by side, so that memory is read in long runs.
AREA, HEIGHT = 1 << 17, 256

# Calls a function in several threads at once, in the caller's with True, and returns when one of
# the calls has returned True.
Share = Callable[[Callable[[bool], bool]], None]


class LineReduction(NamedTuple):
    """What line kernels have to know.

    Attributes
    ----------
    kernel : LineKernel
        Made by :func:`line_kernel`.
    identity : sequence of float
        What each part of a state starts from.
    dtype : dtype
        The type of the states.
    n_scratch : int
        Rows of scratch space that the kernel asks for.
    result : dtype, optional
        The type of the results, by default that of the states.
    setting : float, optional
        What ``kernel.finish`` has to know.
    """

    kernel: LineKernel
    identity: Sequence[float]
    dtype: DTypeLike
    n_scratch: int = 0
    result: DTypeLike | None = None
    setting: float | None = None


def reduce_lines(
    reduction: LineReduction, x: Array, share: Share | None = None
) -> tuple[Array, ...]:
    """Reduce the middle axis of `x` to states.

    Parameters
    ----------
    reduction : LineReduction
        What to do.
    x : ndarray, shape (n_outer, n, n_inner)
        Of a dtype that numba knows; any strides. `n` is at least one.
    share : callable, optional
        Calls a function in several threads, which share the work.

    Returns
    -------
    tuple of ndarray, each of shape (n_outer, n_inner)
    """
    n_outer, _, n_inner = x.shape
    state, _ = _reduce(reduction, x, share, finishes=False)
    return tuple(state[:, : n_outer * n_inner].reshape(len(state), n_outer, n_inner))


def finish_lines(reduction: LineReduction, x: Array, share: Share | None = None) -> Array:
    """Reduce the middle axis of `x` to results.

    Parameters
    ----------
    reduction, x, share
        As for :func:`reduce_lines`.

    Returns
    -------
    ndarray, shape (n_outer, n_inner)
    """
    n_outer, _, n_inner = x.shape
    state, out = _reduce(reduction, x, share, finishes=True)
    if not len(out):
        out = np.empty(n_outer * n_inner, out.dtype)
        reduction.kernel.finish(state, out, reduction.setting)
    return out.reshape(n_outer, n_inner)


def combine_states(kernel: LineKernel, a: Sequence[Array], b: Sequence[Array]) -> tuple[Array, ...]:
    """Combine each state of `a` with that of `b` at its place."""
    n, shape = a[0].size, a[0].shape
    state = np.array([[*pair] for pair in zip(a, b, strict=True)], np.float64).reshape(len(a), -1)
    kernel.fold(state, n)
    return tuple(part[:n].reshape(shape) for part in state)


def _reduce(
    reduction: LineReduction, x: Array, share: Share | None, finishes: bool
) -> tuple[Array, Array]:
    """Return the states, or results instead if `finishes` and each line is in one piece."""
    kernel, identity, dtype, n_scratch, result, setting = reduction
    n_outer, n, n_inner = x.shape
    flat, start, outer_stride, stride = flatten(x)
    if n_inner == 1:
        longest = min(n, PIECE)
        n_pieces = -(-n // longest)
        n_tasks = n_outer * n_pieces
        grain = 1 if n_pieces > 1 else max(1, AREA // n)
        batch = min(BATCH, grain)
        lines: tuple[Any, ...] = (n, longest, batch, grain // batch * batch, n_tasks)
    else:
        groups = 1
        while stride == n_inner and 2 * groups * n_inner <= LANES and 16 * groups <= n:
            groups *= 2
        block = min(n_inner, WIDTH)
        height = min(n, max(HEIGHT, AREA // block))
        n_pieces = -(-n // height)
        n_tasks = n_outer * n_pieces * -(-n_inner // block)
        grain = max(1, AREA // (height * block))
        lines = (n, stride, n_inner, groups, height, block, grain, n_tasks)
    n_parts, n_lines = len(identity), n_outer * n_inner
    finishes = finishes and n_pieces == 1
    state = np.empty((n_parts, 0 if finishes else n_pieces * n_lines), dtype)
    out = np.empty(n_lines if finishes else 0, result or dtype)
    start_values = _start_values(tuple(identity), np.dtype(dtype))
    cursor = np.zeros(3 * 8, np.int64)

    def work(is_caller: bool) -> bool:
        # A thread that came back first would hold the interpreter's lock when the caller needs it.
        wait = (DONE, n_tasks) if is_caller else (CALLER, 1)
        shared = (flat, start, n_outer, outer_stride, *lines, cursor, *wait)
        if n_inner == 1:
            kernel.rows(*shared, n_scratch, start_values, state, out, setting)
        else:
            lanes = np.empty((n_parts, max(LANES, block)), dtype)
            scratch = np.empty((n_scratch, kernel.width), dtype)
            kernel.columns(*shared, lanes, scratch, start_values, state, out, setting)
        if is_caller:
            cursor[CALLER] = 1
        return bool(cursor[DONE] >= n_tasks)

    if share is None:
        work(True)
    else:
        share(work)
    if n_pieces > 1:
        kernel.fold(state, n_lines)
    return state, out


@lru_cache
def _start_values(identity: tuple[float, ...], dtype: np.dtype[Any]) -> Array:
    return np.array(identity, dtype)
