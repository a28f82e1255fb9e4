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


def walker(step: Step, step_narrow: Step | None = None) -> Walk:
    """Return the walk by a formula, and by another one for columns that do not fill a vector."""

    def walk(
        code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, at: Int, width: Int
    ) -> None:
        in_vectors, n_groups = width // VECTOR * VECTOR, n // GROUP
        distance = n_groups * stride
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
            one, left = code.constant(0), n % GROUP
            add_groups(code, step, rest.start(j), left, stride, 1, one, state, at + j, VECTOR)

        def add_narrow(j: Int, some: int) -> None:
            rows = x.start(in_vectors + j)
            zero, formula = code.constant(0), step_narrow or step
            add_groups(code, formula, rows, n, stride, 1, zero, state, at + in_vectors + j, some)

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
