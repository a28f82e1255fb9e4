"""Sums of deviations from a center near the mean of each lane, which is chosen for a few rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sharedmem.kernels.loops.emit import Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lines import AddRows
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.vectors import Vector

# The number of rows whose deviations are taken from one center.
SPAN = 256
# The rows of scratch space for the center of each lane, the sum of deviations, and their squares.
CENTER, SUM, SQUARES = range(3)


def in_spans(add_span: Callable[..., None]) -> AddRows:
    """Return what adds rows to lanes by ``add_span(code, x, n, stride, state, width, scratch)``."""

    def add_rows(
        code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, at: Int, width: Int,
        scratch: Table,
    ) -> None:  # fmt: skip
        with code.loop(0, n, SPAN) as first:
            n_rows = (n - first).least(SPAN)
            add_span(code, x.start(first * stride), n_rows, stride, state.start(at), width, scratch)

    return add_rows


def sum_about_centers(
    code: Emitter, add: Callable[..., None], x: Numbers, n: Int, stride: Int, width: Int,
    scratch: Table, widths: Sequence[int],
) -> None:  # fmt: skip
    """Sum deviations of rows, and their squares, by ``add(code, x, n, stride, width, scratch)``.

    They are summed about the mean of four elements of a lane. Where that is so far from the mean of
    the lane that more than two bits would be lost, they are summed again, about the latter.
    """
    centers, any_is_far = scratch.row(CENTER), code.variable(code.flag(False))

    def start(j: Int, width: int) -> None:
        centers.store(_mean_of_four(x, n, stride, j, width), j)

    def move_if_far(j: Int, width: int) -> None:
        center, total, squares = scratch.first(3).load(j, width)
        mean = total / n.as_float().repeat(width)
        far = squares > mean.full(4) * (squares - total * mean)
        centers.store(center + far.choose(mean, mean.full(0)), j)
        any_is_far.set(any_is_far.get() | code.any(far))

    code.in_vectors(width, start, widths)
    code.call(add, x, n, stride, width, scratch)
    code.in_vectors(width, move_if_far, widths)
    with code.when(any_is_far.get()):
        code.call(add, x, n, stride, width, scratch)


def _mean_of_four(x: Numbers, n: Int, stride: Int, at: Int, width: int) -> Vector:
    """Return the means of four elements of lanes of `n` rows, as far apart as possible."""
    third, last = n // 3 * stride, (n - 1) * stride
    double = x.full_float(0.25, width)
    a, b, c, d = (
        x.load(at + distance, width).widen(double) * double
        for distance in (third * 0, third, last - third, last)
    )
    return (a + d) + (b + c)
