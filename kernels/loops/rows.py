"""The kernel that reduces lines of contiguous elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.intrinsics import fetch_add, read_only
from sharedmem.kernels.loops.lanes import (
    DONE,
    LANES,
    NEXT,
    copy_lanes,
    index,
    number,
    start_lanes,
    wait,
)
from sharedmem.kernels.loops.layout import Array

# Lines that are not LONG are reduced in NARROW lanes, which are folded for a BATCH of lines
# together.
NARROW = 16
BATCH = 64
LONG = 1024
# Lines shorter than this are transposed in batches, to be reduced side by side.
SHORT = 32


@part
def _turn(
    x: Array, p: int, outer_stride: int, n: int, n_lines: int, turned: Array, to: int
) -> None:
    """Transpose `n_lines` lines of `n` elements, from `p`, to rows of `to` elements."""
    for i in range(n):
        row = turned[i * to :]
        for line in range(n_lines):
            row[line] = x[index(p + line * outer_stride + i)]


def _batch_reducer(
    add_wide: Callable[..., None],
    add_narrow: Callable[..., None],
    fold_to: Callable[..., None],
    n_lanes: int,
) -> Callable[..., None]:
    """Make the part that reduces up to `batch` lines of contiguous elements to ``sides``."""

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
        start_lanes(sides, zero, batch_width, identity)
        if in_lanes:
            start_lanes(lanes, zero, narrow_width * BATCH, identity)
            for line in range(n_lines):
                q = p + line * outer_stride
                lane = line * NARROW
                if rows:
                    start_lanes(wide, zero, wide_width, identity)
                    add_wide(x, q, rows, wide_width, wide, zero, wide_width, scratch)
                    fold_to(wide, wide_width, narrow_width)
                    copy_lanes(wide, narrow_width, lanes, lane)
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


def row_kernel(
    add_wide: Callable[..., None],
    add_narrow: Callable[..., None],
    fold_to: Callable[..., None],
    finish: Callable[..., None],
    n_lanes: int,
) -> Callable[..., None]:
    """Make the kernel for lines of contiguous elements.

    Its arguments are described by :class:`~sharedmem.kernels.loops.lines.LineKernel`.
    """
    reduce_batch = _batch_reducer(add_wide, add_narrow, fold_to, n_lanes)

    @kernel
    def reduce_rows(x: Array, layout: Any, cut: Any, queue: Any, room: Any, result: Any) -> None:
        start, n_outer, outer_stride, n = layout
        longest, batch = cut
        cursor, grain, n_tasks, place, target = queue
        identity, state, out, setting = result
        wide, lanes, sides, scratch, turned = room
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
                    copy_lanes(sides, n_lines, state, at)
            fetch_add(cursor, DONE, stop - first)
            first = fetch_add(cursor, NEXT, grain)
        wait(cursor, place, target)

    return reduce_rows


def row_room(
    n_parts: int, n_scratch: int, dtype: DTypeLike, element: np.dtype[Any]
) -> tuple[Array, ...]:
    """Return the memory of a thread that reduces rows."""
    return (
        np.empty((n_parts, LANES), dtype),
        np.empty((n_parts, NARROW * BATCH), dtype),
        np.empty((n_parts, NARROW * BATCH), dtype),
        np.empty((n_scratch, LANES), dtype),
        np.empty(SHORT * BATCH, element),
    )
