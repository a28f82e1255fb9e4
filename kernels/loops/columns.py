"""The kernel that reduces columns: lines that lie side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.intrinsics import fetch_add
from sharedmem.kernels.loops.lanes import DONE, LANES, NEXT, copy_lanes, number, start_lanes, wait
from sharedmem.kernels.loops.layout import Array


def _block_reducer(
    add_wide: Callable[..., None], add_any: Callable[..., None], n_rows: int, width: int
) -> Callable[..., None]:
    """Make the part that reduces the columns ``span[0]`` to ``span[1]`` of a block."""

    @part
    def reduce_block(
        x: Array, p: int, n: int, stride: int, span: Any, state: Array, at: int, room: Any
    ) -> None:
        first, stop = span
        identity, scratch = room
        start_lanes(state, at + first, stop - first, identity)
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
    """Make the part that reduces so few columns that several rows fill the lanes."""

    @part
    def reduce_few(
        x: Array, p: int, n: int, n_inner: int, groups: int, lanes: Array, room: Any
    ) -> None:
        while groups > n:  # of the last piece, which may be short: no lane stays empty
            groups //= 2
        width = groups * n_inner
        zero = number(0)
        rows = n // groups
        reduce_block(x, p, rows, width, (zero, width), lanes, zero, room)
        rest = n * n_inner - rows * width
        if rest > 0:
            add_any(x, p + rows * width, number(1), width, lanes, zero, rest, room[1])
        fold_to(lanes, width, n_inner)

    return reduce_few


def column_kernel(
    add_wide: Callable[..., None],
    add_any: Callable[..., None],
    fold_to: Callable[..., None],
    finish: Callable[..., None],
    n_rows: int,
    width: int,
) -> Callable[..., None]:
    """Make the kernel for columns.

    Its arguments are described by :class:`~sharedmem.kernels.loops.lines.LineKernel`.
    """
    reduce_block = _block_reducer(add_wide, add_any, n_rows, width)
    reduce_few = _few_reducer(reduce_block, add_any, fold_to)

    @kernel
    def reduce_columns(x: Array, layout: Any, cut: Any, queue: Any, room: Any, result: Any) -> None:
        start, n_outer, outer_stride, n, stride, n_inner = layout
        height, block, groups = cut
        cursor, grain, n_tasks, place, target = queue
        lanes, scratch = room
        identity, state, out, setting = result
        common = identity, scratch
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
                    reduce_few(x, p, rows, n_inner, groups, lanes, common)
                    if not len(out):
                        copy_lanes(lanes, n_inner, state, at)
                elif len(out):
                    reduce_block(x, p, rows, stride, (left, right), lanes, -left, common)
                else:
                    reduce_block(x, p, rows, stride, (left, right), state, at, common)
                if len(out):
                    finish(lanes, right - left, out[at + left :], setting)
            fetch_add(cursor, DONE, some)
            first = fetch_add(cursor, NEXT, grain)
        wait(cursor, place, target)

    return reduce_columns
