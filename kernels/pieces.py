"""What a line kernel has to do, in pieces that threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.layout import flatten
from sharedmem.kernels.lines import BATCH, CALLER, DONE, LANES, LineKernel

Array = NDArray[Any]

# So many elements of a long line are reduced at once, by one of the threads that share the work: a
# core reads them in 10 us. To the threads of Python, taking turns costs five times as much.
PIECE = 1 << 15
# Of long columns, so many elements: at least HEIGHT of each, so that states are few beside what
# they are made of, and at most WIDTH side by side, a page of memory.
AREA, HEIGHT, WIDTH = 1 << 17, 512, 512

# Calls a function in several threads at once, in the caller's with True, and returns when one of
# the calls has returned True.
Share = Callable[[Callable[[bool], bool]], None]


def reduce_lines(
    kernel: LineKernel,
    x: Array,
    identity: Sequence[float],
    dtype: DTypeLike,
    n_scratch: int = 0,
    share: Share | None = None,
) -> tuple[Array, ...]:
    """Reduce the middle axis of `x` by a line kernel.

    Parameters
    ----------
    kernel : LineKernel
        Made by :func:`line_kernel`.
    x : ndarray, shape (n_outer, n, n_inner)
        Of a dtype that numba knows; any strides. `n` is at least one.
    identity : sequence of float
        What each part of the state starts from.
    dtype : dtype
        The type of the state.
    n_scratch : int
        Rows of scratch space that the kernel asks for.
    share : callable, optional
        Calls a function in several threads, which share the work.

    Returns
    -------
    tuple of ndarray, each of shape (n_outer, n_inner)
    """
    n_outer, n, n_inner = x.shape
    flat, start, outer_stride, stride = flatten(x)
    if n_inner == 1:
        longest = min(n, PIECE)
        n_pieces = -(-n // longest)
        n_tasks = n_outer * n_pieces
        grain = 1 if n_pieces > 1 else min(BATCH, max(1, AREA // n))
        lines: tuple[Any, ...] = (flat, start, n_outer, outer_stride, n, longest, grain)
    else:
        groups = 1
        while stride == n_inner and 2 * groups * n_inner <= LANES and 16 * groups <= n:
            groups *= 2
        block = min(n_inner, WIDTH)
        height = min(n, max(HEIGHT, AREA // block))
        n_pieces = -(-n // height)
        n_tasks = n_outer * n_pieces * -(-n_inner // block)
        grain = max(1, AREA // (height * block))
        shape = (flat, start, n_outer, outer_stride, n, stride, n_inner)
        lines = (*shape, groups, height, block, grain)
    n_parts = len(identity)
    state = np.empty((n_parts, n_outer * n_pieces * n_inner), dtype)
    start_values = _start_values(tuple(identity), np.dtype(dtype))
    cursor = np.zeros(3 * 8, np.int64)

    def work(is_caller: bool) -> bool:
        # A thread that came back first would hold the interpreter's lock when the caller needs it.
        wait = (DONE, n_tasks) if is_caller else (CALLER, 1)
        if n_inner == 1:
            kernel.rows(*lines, cursor, *wait, n_scratch, start_values, state)
        else:
            room = np.empty((n_parts, LANES), dtype), np.empty((n_scratch, LANES), dtype)
            kernel.columns(*lines, cursor, *wait, *room, start_values, state)
        if is_caller:
            cursor[CALLER] = 1
        return bool(cursor[DONE] >= n_tasks)

    if share is None:
        work(True)
    else:
        share(work)
    if n_pieces > 1:
        kernel.fold(state, n_outer * n_inner)
    return tuple(state[:, : n_outer * n_inner].reshape(n_parts, n_outer, n_inner))


@lru_cache
def _start_values(identity: tuple[float, ...], dtype: np.dtype[Any]) -> Array:
    return np.array(identity, dtype)
