"""Walks through rows: a formula adds them to the states of their columns."""

from __future__ import annotations

from collections.abc import Callable

from sharedmem.kernels.loops.emit import Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.vectors import VECTOR, Step

# Rows that a formula gets at once. They are as far apart as they can be: the processor then follows
# so many streams of memory, and reads faster than row after row.
GROUP = 8
# Widths of the vectors for columns that do not fill another one.
_NARROW = (4, 1)

# ``walk(code, x, n, stride, state, at, width)`` adds the `n` rows ``x[i * stride :][:width]`` to
# the lanes of `state` from `at`.
Walk = Callable[[Emitter, Numbers, Int, Int, Table, Int, Int], None]


def walker(step: Step, step_narrow: Step | None = None, in_order: bool = False) -> Walk:
    """Return the walk by a formula, and by another one for columns that do not fill a vector.

    These get row after row, or, if the formula adds the rows of a group `in_order`, groups of them.
    """
    narrow = step_narrow or step

    def walk(
        code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, at: Int, width: Int
    ) -> None:
        in_vectors, n_groups = width // VECTOR * VECTOR, n // GROUP
        distance, zero = n_groups * stride, code.constant(0)
        # A single vector stays in registers from group to group.
        together = width.equals(VECTOR).choose(n_groups, 1)
        with (
            code.loop(0, n_groups, together) as group,
            code.loop(0, in_vectors, VECTOR) as j,
        ):
            rows = x.start(group * stride + j)
            add_groups(code, step, rows, together, stride, GROUP, distance, state, at + j, VECTOR)
        rest = x.start(distance * GROUP)
        with code.loop(0, in_vectors, VECTOR) as j:
            add_groups(code, step, rest.start(j), n % GROUP, stride, 1, zero, state, at + j, VECTOR)

        def add_narrow(j: Int, some: int) -> None:
            rows, to, done = x.start(in_vectors + j), at + in_vectors + j, zero
            if in_order:
                advance, done = stride * GROUP, n_groups * GROUP
                add_groups(code, narrow, rows, n_groups, advance, GROUP, stride, state, to, some)
            rest = rows.start(done * stride)
            add_groups(code, narrow, rest, n - done, stride, 1, zero, state, to, some)

        code.in_vectors(width - in_vectors, add_narrow, _NARROW)

    return walk


def add_groups(
    code: Emitter, step: Step, x: Numbers, n: Int, advance: Int, n_rows: int, distance: Int,
    state: Table, at: Int, width: int,
) -> None:  # fmt: skip
    """Add `n` groups of rows, a step of `advance` apart, to the lanes of one vector.

    The rows of a group are `distance` apart.
    """
    parts = [code.variable(part) for part in state.load(at, width)]  # kept in registers
    with code.loop(0, n) as group:
        first = group * advance
        rows = [x.load(first + distance * row, width) for row in range(n_rows)]
        for part, value in zip(parts, step([part.get() for part in parts], rows), strict=True):
            part.set(value)
    state.store([part.get() for part in parts], at)
