"""Reducing the middle axis of (n_outer, n, n_inner) at memory speed, whatever is reduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.intrinsics import fetch_add, prefetch, read_only
from sharedmem.kernels.layout import flatten

# A long line of contiguous elements is reduced in this many lanes side by side, which are folded at
# its end: enough to fill the vector units of any machine and to hide the latency of additions.
LANES = 64
# Shorter lines are reduced in this many lanes, which are folded for a batch of lines at once.
NARROW = 8
BATCH = 64
LONG = 1024
# Lines shorter than this are turned in batches, to be reduced side by side.
SHORT = 32

Array = NDArray[Any]
# An index of this type is never negative: the compiler need not look whether it counts from the
# end. It costs a third of the time of a slice, both to run and to compile.
index = np.uint64
# To a literal as an argument, a kernel would be compiled again.
number = np.int64


# So many elements of a long line are reduced at once, by one of the threads that share the work: a
# core reads them in 10 us. To the threads of Python, taking turns costs five times as much.
PIECE = 1 << 15
# Of long columns, so many elements: at least HEIGHT of each, so that states are few beside what
# they are made of, and at most WIDTH side by side, a page of memory.
AREA, HEIGHT, WIDTH = 1 << 17, 512, 512
# How often threads look, after their last piece, whether the others have done theirs.
_LOOKS = 10_000
# Where the cursor has the next piece, how many are done, and whether the caller knows.
_NEXT, _DONE, _CALLER = 0, 8, 16

# Memory is asked for so many elements before it is read; columns, so many columns to the right. A
# core takes the variance of 128 MiB at 20 GB/s with it, and at 15 without.
AHEAD, TO_THE_RIGHT = 1024, 128

# Calls a function in several threads at once, in the caller's with True, and returns when one of
# the calls has returned True.
Share = Callable[[Callable[[bool], bool]], None]


class LineKernel(NamedTuple):
    """The kernels of a family.

    Attributes
    ----------
    columns, rows : kernel
        For lines side by side, and for lines of contiguous elements.
    fold : kernel
        ``fold(state, n_pieces, n_inner)`` combines the states of the pieces of lines, of which
        `n_inner` lie side by side, and puts those of the lines first.
    """

    columns: Callable[..., None]
    rows: Callable[..., None]
    fold: Callable[..., None]


def line_kernel(
    adder: Callable[[int], Callable[..., None]],
    fold: Callable[..., None],
    n_rows: int = 16,
    n_lanes: int = LANES,
) -> LineKernel:
    """Make the kernels of a family from kernels that work on lanes.

    Parameters
    ----------
    adder : callable
        Makes the kernel ``add_rows(x, start, n, stride, state, at, width, scratch)``, which adds
        the `n` rows ``x[start + i * stride :][:width]`` to the lanes ``state[:, at : at + width]``,
        for a known `width` or, if that is zero, for any up to LANES. Where the compiler knows the
        width, it needs no loops over what vectors leave over. A row of `scratch` has room for
        LANES elements.
    fold : kernel
        ``fold(state, half)`` combines each lane below `half` with the lane `half` above it.
    n_rows : int
        Columns are reduced in blocks of so many rows, so that memory is read in long runs.
    n_lanes : int
        A long line of contiguous elements is reduced in so many lanes, at most LANES.
    """
    add_wide, fold_to = adder(LANES), _lane_folder(fold)
    return LineKernel(
        _column_kernel(add_wide, adder(0), fold_to, n_rows),
        _row_kernel(add_wide, adder(NARROW), fold_to, n_lanes),
        _piece_folder(fold),
    )


def _lane_folder(fold: Callable[..., None]) -> Callable[..., None]:
    @part
    def fold_to(lanes: Array, width: int, narrow: int) -> None:
        while width > narrow:
            width //= 2
            fold(lanes, width)

    return fold_to


def _piece_folder(fold: Callable[..., None]) -> Callable[..., None]:
    @kernel
    def fold_pieces(state: Array, n_pieces: int, n_inner: int) -> None:
        for first in range(0, state.shape[1], n_pieces * n_inner):
            pieces = state[:, first : first + n_pieces * n_inner].copy()
            n = n_pieces
            while n > 1:
                half = n // 2
                fold(pieces, half * n_inner)
                if n % 2:
                    last = (n - 1) * n_inner
                    for s in range(len(pieces)):
                        for j in range(n_inner):
                            pieces[s, half * n_inner + j] = pieces[s, last + j]
                n -= half
            _copy(pieces, n_inner, state, first // n_pieces)

    return fold_pieces


@part
def fetch_ahead(x: Array, p: int, stride: int) -> None:
    """Ask for four rows of LANES elements that are read soon."""
    ahead = AHEAD if stride == LANES else TO_THE_RIGHT
    for row in range(4):
        for column in range(0, LANES, 64 // x.itemsize):
            prefetch(x, p + ahead + row * stride + column)


@part
def _wait(cursor: Array, place: int, n: int) -> None:
    """Wait awake, for a short time, until a number has reached `n`."""
    looks = 0
    while looks < _LOOKS and fetch_add(cursor, place, 0) < n:
        looks += 1


@part
def _start(lanes: Array, at: int, n: int, identity: Array) -> None:
    """Let `n` lanes start from the identity."""
    for s in range(len(identity)):
        for lane in range(n):
            lanes[s, at + lane] = identity[s]


@part
def _copy(lanes: Array, n: int, state: Array, at: int) -> None:
    """Give the `n` states from `at` on the first lanes."""
    for s in range(len(state)):
        for lane in range(n):
            state[s, at + lane] = lanes[s, lane]


@part
def _turn(
    x: Array, p: int, outer_stride: int, n: int, n_lines: int, turned: Array, to: int
) -> None:
    """Put lines of `n` elements from `p` on side by side, in rows of `to`."""
    for line in range(n_lines):
        for i in range(n):
            turned[i * to + line] = x[index(p + i)]
        p += outer_stride


def _column_kernel(
    add_wide: Callable[..., None],
    add_any: Callable[..., None],
    fold_to: Callable[..., None],
    n_rows: int,
) -> Callable[..., None]:
    """Make the kernel for lines that lie side by side, as columns do.

    Threads take `grain` pieces at a time, each `height` rows of `block` columns.
    """

    @kernel
    def reduce_columns(
        x: Array, start: int, outer_stride: int, n: int, stride: int, n_inner: int, groups: int,
        n_pieces: int, height: int, block: int, grain: int, cursor: Array, place: int,
        target: int, n_scratch: int, identity: Array, state: Array,
    ) -> None:  # fmt: skip
        lanes = np.empty((len(state), LANES), state.dtype)
        scratch = np.empty((n_scratch, LANES), state.dtype)
        n_blocks = (n_inner + block - 1) // block
        n_tasks = state.shape[1] // n_inner * n_blocks
        task = fetch_add(cursor, _NEXT, grain)
        stop = task + grain
        while task < n_tasks:
            part, left = task // n_blocks, task % n_blocks * block
            done = part % n_pieces * height
            first = start + part // n_pieces * outer_stride + done * stride
            length, right, at = min(height, n - done), min(n_inner, left + block), part * n_inner
            if groups == 1:
                for row in range(0, length, n_rows):
                    rows = min(n_rows, length - row)
                    p = first + row * stride
                    for column in range(left, right, LANES):
                        width = min(LANES, right - column)
                        if row == 0:
                            _start(state, at + column, width, identity)
                        if width == LANES:
                            add_wide(
                                x, p + column, rows, stride, state, at + column, width, scratch
                            )
                        else:
                            add_any(x, p + column, rows, stride, state, at + column, width, scratch)
            else:
                width = groups * n_inner
                _start(lanes, 0, width, identity)
                rows = length // groups
                add_any(x, first, rows, width, lanes, number(0), width, scratch)
                rest = length * n_inner - rows * width
                if rest > 0:
                    last = first + rows * width
                    add_any(x, last, number(1), width, lanes, number(0), rest, scratch)
                fold_to(lanes, width, n_inner)
                _copy(lanes, n_inner, state, at)
            fetch_add(cursor, _DONE, 1)
            task += 1
            if task == stop:
                task = fetch_add(cursor, _NEXT, grain)
                stop = task + grain
        _wait(cursor, place, target)

    return reduce_columns


def _row_kernel(
    add_wide: Callable[..., None],
    add_narrow: Callable[..., None],
    fold_to: Callable[..., None],
    n_lanes: int,
) -> Callable[..., None]:
    """Make the kernel for lines of contiguous elements.

    Threads take `grain` lines at a time, or pieces of `longest` elements of longer ones.
    """

    @kernel
    def reduce_rows(
        x: Array, start: int, outer_stride: int, n: int, n_pieces: int, longest: int, grain: int,
        cursor: Array, place: int, target: int, n_scratch: int, identity: Array, state: Array,
    ) -> None:  # fmt: skip
        wide = np.empty((len(state), LANES), state.dtype)
        lanes = np.empty((len(state), NARROW * BATCH), state.dtype)
        batch = np.empty((len(state), NARROW * BATCH), state.dtype)
        scratch = np.empty((n_scratch, LANES), state.dtype)
        turned = np.empty(SHORT * BATCH, x.dtype)
        readable, zero = read_only(turned), number(0)
        first = fetch_add(cursor, _NEXT, grain)
        while first < state.shape[1]:
            n_lines = min(grain, state.shape[1] - first)
            done = first % n_pieces * longest
            p = start + first // n_pieces * outer_stride + done
            length = min(longest, n - done)
            rows = length // n_lanes if length >= LONG else 0
            narrow = (length - rows * n_lanes) // NARROW if length >= SHORT else 0
            in_lanes = rows * n_lanes + narrow * NARROW
            _start(batch, 0, BATCH, identity)
            _start(lanes, 0, NARROW * BATCH if in_lanes else 0, identity)
            for line in range(n_lines if in_lanes else 0):
                q = p + line * outer_stride
                at = line * NARROW
                if rows:
                    _start(wide, 0, n_lanes, identity)
                    add_wide(x, q, rows, number(n_lanes), wide, zero, number(n_lanes), scratch)
                    fold_to(wide, n_lanes, NARROW)
                    _copy(wide, NARROW, lanes, at)
                    q += rows * n_lanes
                add_narrow(x, q, narrow, number(NARROW), lanes, at, number(NARROW), scratch)
            if in_lanes:
                for s in range(len(state)):
                    _turn(lanes[s], 0, NARROW, NARROW, n_lines, batch[s], grain)
                fold_to(batch, NARROW * grain, grain)
            for rest in range(in_lanes, length, SHORT):
                some = min(length - rest, SHORT)
                _turn(x, p + rest, outer_stride, some, n_lines, turned, BATCH)
                add_wide(readable, zero, some, number(BATCH), batch, zero, number(BATCH), scratch)
            _copy(batch, n_lines, state, first)
            fetch_add(cursor, _DONE, n_lines)
            first = fetch_add(cursor, _NEXT, grain)
        _wait(cursor, place, target)

    return reduce_rows


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
        lines: tuple[Any, ...] = (n, n_pieces, longest, grain)
    else:
        groups = 1
        while stride == n_inner and 2 * groups * n_inner <= LANES and 16 * groups <= n:
            groups *= 2
        block = min(n_inner, WIDTH)
        height = min(n, max(HEIGHT, AREA // block))
        n_pieces = -(-n // height)
        n_tasks = n_outer * n_pieces * -(-n_inner // block)
        grain = max(1, AREA // (height * block))
        lines = (n, stride, n_inner, groups, n_pieces, height, block, grain)
    state = np.empty((len(identity), n_outer * n_pieces * n_inner), dtype)
    start_values = _start_values(tuple(identity), np.dtype(dtype))
    cursor = np.zeros(3 * 8, np.int64)
    reduce_pieces = kernel.rows if n_inner == 1 else kernel.columns

    def work(is_caller: bool) -> bool:
        # A thread that came back first would hold the interpreter's lock when the caller needs it.
        wait = (_DONE, n_tasks) if is_caller else (_CALLER, 1)
        reduce_pieces(
            flat, start, outer_stride, *lines, cursor, *wait, n_scratch, start_values, state
        )
        if is_caller:
            cursor[_CALLER] = 1
        return bool(cursor[_DONE] >= n_tasks)

    if share is None:
        work(True)
    else:
        share(work)
    if n_pieces > 1:
        kernel.fold(state, n_pieces, n_inner)
    return tuple(state[:, : n_outer * n_inner].reshape(len(identity), n_outer, n_inner))


@lru_cache
def _start_values(identity: tuple[float, ...], dtype: np.dtype[Any]) -> Array:
    return np.array(identity, dtype)
