"""Reducing the middle axis of (n_outer, n, n_inner) at memory speed, whatever is reduced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.intrinsics import fetch_add, read_only

# A long line of contiguous elements is reduced in this many lanes side by side, which are folded at
# its end: enough to fill the vector units of any machine and to hide the latency of additions.
LANES = 64
# Shorter lines are reduced in this many lanes, which are folded for a batch of lines at once.
NARROW = 16
BATCH = 64
LONG = 1024
# Lines shorter than this are turned in batches, to be reduced side by side.
SHORT = 32

Array = NDArray[Any]
# An index of this type is never negative: the compiler need not look whether it counts from the
# end. It costs a third of the time of a slice, both to run and to compile.
index = np.uint64
# For a literal as an argument, a part would be compiled again.
number: Any = np.int64


# How often threads look, after their last piece, whether the others have done theirs.
_LOOKS = 10_000
# Where the cursor has the next piece, how many are done, and whether the caller knows.
NEXT, DONE, CALLER = 0, 8, 16


class LineKernel(NamedTuple):
    """The kernels of a family.

    Attributes
    ----------
    columns, rows : kernel
        For lines side by side, and for lines of contiguous elements.
    fold : kernel
        ``fold(state, n_lines)`` combines the states of the pieces of lines, those of all first
        pieces before those of all second ones, in the first `n_lines`.
    finish : kernel
        ``finish(state, n, out, setting)`` writes the results of the first `n` states to `out`.
    width : int
        Of columns, so many are reduced side by side; a row of scratch space has as many elements.
    """

    columns: Callable[..., None]
    rows: Callable[..., None]
    fold: Callable[..., None]
    finish: Callable[..., None]
    width: int


def line_kernel(
    adder: Callable[[int], Callable[..., None]],
    fold: Callable[..., None],
    finish: Callable[..., None] | None = None,
    n_rows: int = 16,
    n_lanes: int = LANES,
    width: int = LANES,
) -> LineKernel:
    """Make the kernels of a family from kernels that work on lanes.

    Parameters
    ----------
    adder : callable
        Makes the kernel ``add_rows(x, start, n, stride, state, at, width, scratch)``, which adds
        the `n` rows ``x[start + i * stride :][:width]`` to the lanes ``state[:, at : at + width]``,
        for a known `width` or, if that is zero, for any. Where the compiler knows the width, it
        needs no loops over what vectors leave over. A row of `scratch` has room for as many
        elements as there are lanes.
    fold : kernel
        ``fold(state, half)`` combines each lane below `half` with the lane `half` above it.
    finish : kernel, optional
        See :class:`LineKernel`; by default a result is the first part of its state.
    n_rows : int
        Columns are reduced in blocks of so many rows, so that memory is read in long runs.
    n_lanes : int
        A long line of contiguous elements is reduced in so many lanes, at most LANES.
    width : int
        So many columns are reduced side by side, at least LANES.
    """
    add_wide, add_any, fold_to = adder(LANES), adder(0), _lane_folder(fold)
    finish = finish or _first_part
    return LineKernel(
        _column_kernel(add_wide, add_any, fold_to, finish, n_rows, width),
        _row_kernel(add_wide, adder(NARROW), fold_to, finish, n_lanes),
        _piece_folder(fold),
        _finisher(finish),
        width,
    )


@part
def _first_part(state: Array, n: int, out: Array, setting: None) -> None:
    for j in range(n):
        out[j] = state[0, j]


def _finisher(finish: Callable[..., None]) -> Callable[..., None]:
    @kernel
    def finish_lines(state: Array, out: Array, setting: Any) -> None:
        finish(state, len(out), out, setting)

    return finish_lines


def _lane_folder(fold: Callable[..., None]) -> Callable[..., None]:
    @part
    def fold_to(lanes: Array, width: int, narrow: int) -> None:
        while width > narrow:
            width //= 2
            fold(lanes, width)

    return fold_to


def _piece_folder(fold: Callable[..., None]) -> Callable[..., None]:
    @kernel
    def fold_pieces(state: Array, n_lines: int) -> None:
        n = state.shape[1] // n_lines
        while n > 1:
            half = n // 2
            fold(state, half * n_lines)
            if n % 2:
                for s in range(len(state)):
                    for line in range(n_lines):
                        state[s, half * n_lines + line] = state[s, (n - 1) * n_lines + line]
            n -= half

    return fold_pieces


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
    for i in range(n):
        row = turned[i * to :]
        for line in range(n_lines):
            row[line] = x[index(p + line * outer_stride + i)]


def _block_reducer(
    add_wide: Callable[..., None], add_any: Callable[..., None], n_rows: int, width: int
) -> Callable[..., None]:
    """Make what reduces a block of columns."""

    @part
    def reduce_block(
        x: Array, p: int, n: int, stride: int, first: int, stop: int, identity: Array,
        scratch: Array, state: Array, at: int,
    ) -> None:  # fmt: skip
        _start(state, at + first, stop - first, identity)
        for row in range(0, n, n_rows):
            rows = min(n_rows, n - row)
            for column in range(first, stop, width):
                some = min(width, stop - column)
                if some == LANES:
                    add_wide(x, p + column, rows, stride, state, at + column, some, scratch)
                else:
                    add_any(x, p + column, rows, stride, state, at + column, some, scratch)
            p += n_rows * stride

    return reduce_block


def _few_reducer(
    reduce_block: Callable[..., None], add_any: Callable[..., None], fold_to: Callable[..., None]
) -> Callable[..., None]:
    """Make what reduces columns so few that some rows together fill the lanes."""

    @part
    def reduce_few(
        x: Array, p: int, n: int, n_inner: int, groups: int, identity: Array, scratch: Array,
        lanes: Array,
    ) -> None:  # fmt: skip
        width = groups * n_inner
        zero = number(0)
        rows = n // groups
        reduce_block(x, p, rows, width, zero, width, identity, scratch, lanes, zero)
        rest = n * n_inner - rows * width
        if rest > 0:
            add_any(x, p + rows * width, number(1), width, lanes, zero, rest, scratch)
        fold_to(lanes, width, n_inner)

    return reduce_few


def _column_kernel(
    add_wide: Callable[..., None],
    add_any: Callable[..., None],
    fold_to: Callable[..., None],
    finish: Callable[..., None],
    n_rows: int,
    width: int,
) -> Callable[..., None]:
    """Make the kernel for lines that lie side by side, as columns do.

    Threads take `grain` pieces at a time, each `height` rows of `block` columns. Results go to
    `out`, if that has room for them, and else states to `state`.
    """
    reduce_block = _block_reducer(add_wide, add_any, n_rows, width)
    reduce_few = _few_reducer(reduce_block, add_any, fold_to)

    @kernel
    def reduce_columns(
        x: Array, start: int, n_outer: int, outer_stride: int, n: int, stride: int, n_inner: int,
        groups: int, height: int, block: int, grain: int, n_tasks: int, cursor: Array, place: int,
        target: int, lanes: Array, scratch: Array, identity: Array, state: Array, out: Array,
        setting: Any,
    ) -> None:  # fmt: skip
        n_blocks = (n_inner + block - 1) // block
        first = fetch_add(cursor, NEXT, grain)
        while first < n_tasks:
            some = min(grain, n_tasks - first)
            for task in range(first, first + some):
                piece, left = task // n_blocks, task % n_blocks * block
                done = piece // n_outer * height
                p = start + piece % n_outer * outer_stride + done * stride
                rows, at = min(height, n - done), piece * n_inner
                right = min(n_inner, left + block)
                if groups > 1:
                    reduce_few(x, p, rows, n_inner, groups, identity, scratch, lanes)
                    if not len(out):
                        _copy(lanes, n_inner, state, at)
                elif len(out):
                    reduce_block(x, p, rows, stride, left, right, identity, scratch, lanes, -left)
                else:
                    reduce_block(x, p, rows, stride, left, right, identity, scratch, state, at)
                if len(out):
                    finish(lanes, right - left, out[at + left :], setting)
            fetch_add(cursor, DONE, some)
            first = fetch_add(cursor, NEXT, grain)
        _wait(cursor, place, target)

    return reduce_columns


def _batch_reducer(
    add_wide: Callable[..., None],
    add_narrow: Callable[..., None],
    fold_to: Callable[..., None],
    n_lanes: int,
) -> Callable[..., None]:
    """Make what reduces up to `batch` lines of contiguous elements to `sides`, side by side."""

    @part
    def reduce_batch(
        x: Array, p: int, outer_stride: int, n: int, n_lines: int, batch: int, identity: Array,
        scratch: Array, turned: Array, wide: Array, lanes: Array, sides: Array,
    ) -> None:  # fmt: skip
        zero, narrow_width = number(0), number(NARROW)
        wide_width, batch_width = number(n_lanes), number(BATCH)
        rows = n // n_lanes if n_lanes > NARROW and n >= LONG else 0
        narrow = (n - rows * n_lanes) // NARROW if n >= SHORT else 0
        in_lanes = rows * n_lanes + narrow * NARROW
        _start(sides, zero, batch_width, identity)
        if in_lanes:
            _start(lanes, zero, narrow_width * BATCH, identity)
            for line in range(n_lines):
                q = p + line * outer_stride
                lane = line * NARROW
                if rows:
                    _start(wide, zero, wide_width, identity)
                    add_wide(x, q, rows, wide_width, wide, zero, wide_width, scratch)
                    fold_to(wide, wide_width, narrow_width)
                    _copy(wide, narrow_width, lanes, lane)
                    q += rows * n_lanes
                add_narrow(x, q, narrow, narrow_width, lanes, lane, narrow_width, scratch)
            for s in range(len(sides)):
                _turn(lanes[s], zero, narrow_width, narrow_width, n_lines, sides[s], batch)
            fold_to(sides, narrow_width * batch, batch)
        for rest in range(in_lanes, n, SHORT):
            some = min(n - rest, SHORT)
            _turn(x, p + rest, outer_stride, some, n_lines, turned, batch_width)
            readable = read_only(turned)
            add_wide(readable, zero, some, batch_width, sides, zero, batch_width, scratch)

    return reduce_batch


def _row_kernel(
    add_wide: Callable[..., None],
    add_narrow: Callable[..., None],
    fold_to: Callable[..., None],
    finish: Callable[..., None],
    n_lanes: int,
) -> Callable[..., None]:
    """Make the kernel for lines of contiguous elements.

    Threads take `grain` lines at a time, or pieces of `longest` elements of longer ones, and reduce
    `batch` of them side by side. Results go to `out`, if that has room for them, and else states to
    `state`.
    """
    reduce_batch = _batch_reducer(add_wide, add_narrow, fold_to, n_lanes)

    @kernel
    def reduce_rows(
        x: Array, start: int, n_outer: int, outer_stride: int, n: int, longest: int, batch: int,
        grain: int, n_tasks: int, cursor: Array, place: int, target: int, n_scratch: int,
        identity: Array, state: Array, out: Array, setting: Any,
    ) -> None:  # fmt: skip
        wide = np.empty((len(state), LANES), state.dtype)
        lanes = np.empty((len(state), NARROW * BATCH), state.dtype)
        sides = np.empty((len(state), NARROW * BATCH), state.dtype)
        scratch = np.empty((n_scratch, LANES), state.dtype)
        turned = np.empty(SHORT * BATCH, x.dtype)
        first = fetch_add(cursor, NEXT, grain)
        while first < n_tasks:
            stop = min(first + grain, n_tasks)
            for at in range(first, stop, batch):
                done = at // n_outer * longest
                p = start + at % n_outer * outer_stride + done
                length, n_lines = min(longest, n - done), min(batch, stop - at)
                reduce_batch(
                    x, p, outer_stride, length, n_lines, batch, identity, scratch, turned, wide,
                    lanes, sides,
                )  # fmt: skip
                if len(out):
                    finish(sides, n_lines, out[at:], setting)
                else:
                    _copy(sides, n_lines, state, at)
            fetch_add(cursor, DONE, stop - first)
            first = fetch_add(cursor, NEXT, grain)
        _wait(cursor, place, target)

    return reduce_rows
