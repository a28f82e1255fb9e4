"""Reductions by line kernels: cut into pieces, whose work threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.loops.lanes import CALLER, DONE, LANES
from sharedmem.kernels.loops.layout import Array, as_numbers, flatten, is_whole
from sharedmem.kernels.loops.lines import LineKernel
from sharedmem.kernels.loops.rows import BATCH, row_room
from sharedmem.kernels.loops.vector_kernels import WIDTH
from sharedmem.kernels.reduction import LineReduction, State

# The number of elements of a long line in a piece, which one thread reduces: threads end together.
PIECE = 1 << 15
# The number of elements of long columns in a piece: at least HEIGHT per column, so that there are
# few states, and at most WIDTH columns, so that memory is read in long runs.
AREA, HEIGHT = 1 << 17, 256

# Calls a function in several threads, with True in the caller's, and returns when one of the calls
# has returned True.
Share = Callable[[Callable[[bool], bool]], None]


class KernelSpec(NamedTuple):
    """A line kernel, and the types that it is called with.

    Attributes
    ----------
    kernel : LineKernel
        Made by :func:`~sharedmem.kernels.loops.lines.line_kernel`.
    identity : sequence of float
        The initial value of each part of a state.
    dtype : dtype
        The type of the states.
    n_scratch : int
        The number of rows of scratch space.
    result : dtype, optional
        The type of the results, by default that of the states.
    setting : float, optional
        The argument of ``kernel.finish``.
    """

    kernel: LineKernel
    identity: Sequence[float]
    dtype: DTypeLike
    n_scratch: int = 0
    result: DTypeLike | None = None
    setting: float | None = None


SpecMaker = Callable[..., KernelSpec]


def by_kernel(
    make_spec: SpecMaker,
    arguments: tuple[Any, ...],
    dtype: np.dtype[Any],
    combine: Callable[[State, State], State],
    finalize: Callable[[State], Any],
    finishes: bool = True,
) -> LineReduction:
    """Return the reduction of elements of `dtype` by a kernel.

    Parameters
    ----------
    make_spec : callable
        ``make_spec(*arguments)`` returns the :class:`KernelSpec`. A cached function of a module:
        reductions are pickled by its name, without kernels, which other processes would compile.
    arguments : tuple
    dtype : dtype
    combine, finalize : callable
        See :class:`~sharedmem.kernels.reduction.Reduction`.
    finishes : bool
        Whether the kernel also computes the results.
    """
    spec, whole = make_spec(*arguments), is_whole(dtype)
    return LineReduction(
        partial(reduce_chunk, make_spec, arguments),
        combine,
        finalize,
        spec.identity,
        whole=whole,
        direct=partial(_finish_chunk, make_spec, arguments) if whole and finishes else None,
    )


def reduce_chunk(
    make_spec: SpecMaker, arguments: tuple[Any, ...], x: Array, share: Share | None = None
) -> State:
    """Call :func:`reduce_lines` with ``make_spec(*arguments)``."""
    return reduce_lines(make_spec(*arguments), x, share)


def _finish_chunk(
    make_spec: SpecMaker, arguments: tuple[Any, ...], x: Array, share: Share | None = None
) -> Array:
    return finish_lines(make_spec(*arguments), x, share)


def reduce_lines(spec: KernelSpec, x: Array, share: Share | None = None) -> State:
    """Reduce the middle axis of `x` to states.

    Parameters
    ----------
    spec : KernelSpec
    x : ndarray, shape (n_outer, n, n_inner)
        Of a dtype that numba supports, and any strides. `n` is at least one. A complex element
        counts as two neighbors.
    share : callable, optional
        Calls a function in several threads, which share the work.

    Returns
    -------
    tuple of ndarray, each of shape (n_outer, n_inner)
    """
    x = as_numbers(x)
    n_outer, _, n_inner = x.shape
    state, _ = _reduce(spec, x, share, finishes=False)
    return tuple(state[:, : n_outer * n_inner].reshape(len(state), n_outer, n_inner))


def finish_lines(spec: KernelSpec, x: Array, share: Share | None = None) -> Array:
    """Reduce the middle axis of `x` to results.

    Parameters
    ----------
    spec, x, share
        As for :func:`reduce_lines`.

    Returns
    -------
    ndarray, shape (n_outer, n_inner)
    """
    x = as_numbers(x)
    n_outer, _, n_inner = x.shape
    state, out = _reduce(spec, x, share, finishes=True)
    if not len(out):
        out = np.empty(n_outer * n_inner, out.dtype)
        spec.kernel.finish(state, out, spec.setting)
    return out.reshape(n_outer, n_inner)


def combine_states(kernel: LineKernel, a: Sequence[Array], b: Sequence[Array]) -> State:
    """Combine each state of `a` with the state of `b` at its place."""
    n, shape = a[0].size, a[0].shape
    state = np.array([[*pair] for pair in zip(a, b, strict=True)], np.float64).reshape(len(a), -1)
    kernel.fold(state, n)
    return tuple(part[:n].reshape(shape) for part in state)


def _reduce(spec: KernelSpec, x: Array, share: Share | None, finishes: bool) -> tuple[Array, Array]:
    """Return the states, or, if it `finishes` and each line is in one piece, the results."""
    kernel, identity, dtype, n_scratch, result, setting = spec
    n_outer, n, n_inner = x.shape
    flat, start, outer_stride, stride = flatten(x)
    layout: tuple[int, ...] = start, n_outer, outer_stride, n
    if n_inner == 1:
        cut, n_pieces, n_tasks, grain = _cut_rows(n_outer, n)
    else:
        layout = *layout, stride, n_inner
        cut, n_pieces, n_tasks, grain = _cut_columns(n_outer, n, n_inner, stride == n_inner)
    n_parts, n_lines = len(identity), n_outer * n_inner
    finishes = finishes and n_pieces == 1
    state = np.empty((n_parts, 0 if finishes else n_pieces * n_lines), dtype)
    out = np.empty(n_lines if finishes else 0, result or dtype)
    target = _start_values(tuple(identity), np.dtype(dtype)), state, out, setting
    cursor = np.zeros(3 * 8, np.int64)

    def work(is_caller: bool) -> bool:
        # A thread that returned first would hold the GIL when the caller needs it.
        wait = (DONE, n_tasks) if is_caller else (CALLER, 1)
        queue = (cursor, grain, n_tasks, *wait)
        if n_inner == 1:
            room = row_room(n_parts, n_scratch, dtype, flat.dtype)
            kernel.rows(flat, layout, cut, queue, room, target)
        else:
            lanes = np.empty((n_parts, max(LANES, cut[1])), dtype)
            scratch = np.empty((n_scratch, kernel.width), dtype)
            kernel.columns(flat, layout, cut, queue, (lanes, scratch), target)
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


Cut = tuple[tuple[int, ...], int, int, int]


def _cut_rows(n_outer: int, n: int) -> Cut:
    """Return ``(longest, batch)``, the pieces per line, the number of tasks, and their grain."""
    longest = min(n, PIECE)
    n_pieces = -(-n // longest)
    grain = 1 if n_pieces > 1 else max(1, AREA // n)
    batch = min(BATCH, grain)
    return (longest, batch), n_pieces, n_outer * n_pieces, grain // batch * batch


def _cut_columns(n_outer: int, n: int, n_inner: int, is_contiguous: bool) -> Cut:
    """Return ``(height, block, groups)``, and what :func:`_cut_rows` returns."""
    groups = 1
    while is_contiguous and 2 * groups * n_inner <= LANES and 16 * groups <= n:
        groups *= 2
    block = min(n_inner, WIDTH)
    height = min(n, max(HEIGHT, AREA // block))
    n_pieces = -(-n // height)
    n_tasks = n_outer * n_pieces * -(-n_inner // block)
    return (height, block, groups), n_pieces, n_tasks, max(1, AREA // (height * block))


@lru_cache
def _start_values(identity: tuple[float, ...], dtype: np.dtype[Any]) -> Array:
    return np.array(identity, dtype)
