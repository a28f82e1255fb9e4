"""Kernels that reduce the middle axis of (n_outer, n, n_inner), made from a formula on lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.columns import column_kernel
from sharedmem.kernels.loops.lanes import LANES, lane_folder
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.rows import NARROW, row_kernel


class LineKernel(NamedTuple):
    """The kernels of a family.

    Attributes
    ----------
    columns : kernel
        ``columns(x, layout, cut, queue, room, result)`` reduces columns, lines side by side.
    rows : kernel
        ``rows(x, layout, cut, queue, room, result)`` reduces lines of contiguous elements.
    fold : kernel
        ``fold(state, n_lines)`` combines the states of the pieces of lines, those of all first
        pieces before those of all second ones, in the first `n_lines`.
    finish : kernel
        ``finish(state, n, out, setting)`` writes the results of the first `n` states to `out`.
    width : int
        The number of columns that are reduced side by side, and of elements in a row of scratch
        space.

    Notes
    -----
    The arguments of `columns` and `rows` are plain tuples: to pass named tuples from Python would
    take microseconds.

    x : ndarray, shape (n_elements,)
        See :func:`sharedmem.kernels.loops.layout.flatten`.
    layout : (start, n_outer, outer_stride, n), of columns also (..., stride, n_inner)
        The index of the first element, and the lengths and strides of the axes.
    cut : (longest, batch) of rows, (height, block, groups) of columns
        A task is a piece of `longest` elements of each of `batch` rows, or of `height` rows of
        `block` columns; `groups` rows of few columns are reduced side by side.
    queue : (cursor, grain, n_tasks, place, target)
        Threads claim `grain` tasks at a time, and wait, after the last one, for ``cursor[place]``
        to reach `target`.
    room : (lanes, scratch) of columns
        Memory of a thread alone.
    result : (identity, state, out, setting)
        Results go to `out`, if that has elements, and else states to `state`.
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
    """Make the kernels of a family from parts that work on lanes.

    Parameters
    ----------
    adder : callable
        Makes the kernel ``add_rows(x, start, n, stride, state, at, width, scratch)``, which adds
        the `n` rows ``x[start + i * stride :][:width]`` to the lanes ``state[:, at : at + width]``,
        for a known `width` or, if that is zero, for any. Where the compiler knows the width, it
        needs no loops over the remainder of vectors. A row of `scratch` has as many elements as
        there are lanes.
    fold : kernel
        ``fold(state, half)`` combines each lane below `half` with the lane `half` above it.
    finish : kernel, optional
        See :class:`LineKernel`; by default a result is the first part of its state.
    n_rows : int
        The number of rows in a block of columns: memory is read in long runs.
    n_lanes : int
        The number of lanes for a long line of contiguous elements, at most LANES.
    width : int
        The number of columns that are reduced side by side, at least LANES.
    """
    add_wide, add_any, fold_to = adder(LANES), adder(0), lane_folder(fold)
    finish = finish or _first_part
    return LineKernel(
        column_kernel(add_wide, add_any, fold_to, finish, n_rows, width),
        row_kernel(add_wide, adder(NARROW), fold_to, finish, n_lanes),
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
