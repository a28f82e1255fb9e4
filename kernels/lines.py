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


# So many elements of a long line are reduced at once, by one of the threads that share it: a core
# reads them in 10 us. To the threads of Python, taking turns costs five times as much.
PIECE = 1 << 15
# How often threads look, after their last piece, whether the others have done theirs.
_LOOKS = 10_000
# Where the cursor of a line has the next piece, how many are done, and whether the caller knows.
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
        ``fold(state)`` combines the states of the pieces of a line in the first one.
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
    def fold_pieces(state: Array) -> None:
        n = state.shape[1]
        while n > 1:
            half = n // 2
            fold(state, half)
            if n % 2:
                for s in range(len(state)):
                    state[s, half] = state[s, n - 1]
            n -= half

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
    """Make the kernel for lines that lie side by side, as columns do."""

    @kernel
    def reduce_columns(
        x: Array,
        start: int,
        outer_stride: int,
        n: int,
        stride: int,
        n_inner: int,
        groups: int,
        identity: Array,
        lanes: Array,
        scratch: Array,
        state: Array,
    ) -> None:
        for outer in range(state.shape[1] // n_inner):
            first = start + outer * outer_stride
            at = outer * n_inner
            if groups == 1:
                for row in range(0, n, n_rows):
                    rows = min(n_rows, n - row)
                    p = first + row * stride
                    for column in range(0, n_inner, LANES):
                        width = min(LANES, n_inner - column)
                        if row == 0:
                            _start(state, at + column, width, identity)
                        if width == LANES:
                            add_wide(
                                x, p + column, rows, stride, state, at + column, width, scratch
                            )
                        else:
                            add_any(x, p + column, rows, stride, state, at + column, width, scratch)
                continue
            width = groups * n_inner
            _start(lanes, 0, width, identity)
            rows = n // groups
            add_any(x, first, rows, width, lanes, number(0), width, scratch)
            rest = n * n_inner - rows * width
            if rest > 0:
                last = first + rows * width
                add_any(x, last, number(1), width, lanes, number(0), rest, scratch)
            fold_to(lanes, width, n_inner)
            _copy(lanes, n_inner, state, at)

    return reduce_columns


def _row_kernel(
    add_wide: Callable[..., None],
    add_narrow: Callable[..., None],
    fold_to: Callable[..., None],
    n_lanes: int,
) -> Callable[..., None]:
    """Make the kernel for lines of contiguous elements, of which threads take `grain` at a time.

    The last line ends where the array does.
    """

    @kernel
    def reduce_rows(
        x: Array, start: int, outer_stride: int, n: int, stop: int, grain: int, cursor: Array,
        place: int, target: int, n_scratch: int, identity: Array, state: Array,
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
            p = start + first * outer_stride
            length = min(n, stop - p)
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
            for done in range(in_lanes, length, SHORT):
                some = min(length - done, SHORT)
                _turn(x, p + done, outer_stride, some, n_lines, turned, BATCH)
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
        Calls a function in several threads, which share the work if `x` is a single line.

    Returns
    -------
    tuple of ndarray, each of shape (n_outer, n_inner)
    """
    n_outer, n, n_inner = x.shape
    flat, start, outer_stride, stride = flatten(x)
    is_line = n_outer == n_inner == 1 and n > PIECE
    state = np.empty((len(identity), -(-n // PIECE) if is_line else n_outer * n_inner), dtype)
    start_values = _start_values(tuple(identity), np.dtype(dtype))
    if is_line:
        _reduce_line(kernel, flat, start, n, n_scratch, start_values, state, share)
        state = state[:, :1]
    elif n_inner > 1:
        groups = 1
        while stride == n_inner and 2 * groups * n_inner <= LANES and 16 * groups <= n:
            groups *= 2
        lanes = np.empty((len(identity), LANES), dtype)
        scratch = np.empty((n_scratch, LANES), dtype)
        columns = (flat, start, outer_stride, n, stride, n_inner, groups)
        kernel.columns(*columns, start_values, lanes, scratch, state)
    else:
        cursor = np.zeros(3 * 8, np.int64)
        lines = (flat, start, outer_stride, n, len(flat), BATCH)
        kernel.rows(*lines, cursor, _DONE, 0, n_scratch, start_values, state)
    return tuple(state.reshape(len(identity), n_outer, n_inner))


def _reduce_line(
    kernel: LineKernel,
    flat: Array,
    start: int,
    n: int,
    n_scratch: int,
    identity: Array,
    state: Array,
    share: Share | None,
) -> None:
    cursor = np.zeros(3 * 8, np.int64)
    n_pieces = state.shape[1]

    def work(is_caller: bool) -> bool:
        # A thread that came back first would hold the interpreter's lock when the caller needs it.
        wait = (_DONE, n_pieces) if is_caller else (_CALLER, 1)
        pieces = (flat, start, PIECE, PIECE, start + n, 1)
        kernel.rows(*pieces, cursor, *wait, n_scratch, identity, state)
        if is_caller:
            cursor[_CALLER] = 1
        return bool(cursor[_DONE] >= n_pieces)

    if share is None:
        work(True)
    else:
        share(work)
    kernel.fold(state)


@lru_cache
def _start_values(identity: tuple[float, ...], dtype: np.dtype[Any]) -> Array:
    return np.array(identity, dtype)
