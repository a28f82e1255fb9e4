"""Reducing the middle axis of (n_outer, n, n_inner) at memory speed, whatever is reduced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.columns import column_kernel
from sharedmem.kernels.loops.lanes import LANES, lane_folder
from sharedmem.kernels.loops.rows import NARROW, row_kernel

Array = NDArray[Any]


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
