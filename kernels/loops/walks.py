"""Walks through rows: a formula adds them to the states of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sharedmem.kernels.loops.emit import Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.vectors import VECTOR, Step

# Rows that a formula gets at once. They are as far apart as they can be: the processor then follows
# so many streams of memory, and reads faster than row after row.
GROUP = 8
# Widths of the vectors for columns that do not fill another one.
_NARROW = (4, 1)

# Groups that one formula adds before the next one does: the rows are still in the nearest cache.
_TURN = 8


@dataclass(frozen=True, eq=False)
class Walk:
    """A walk by a formula, and by another one for columns that do not fill a vector.

    ``walk(code, x, n, stride, state, at, width)`` adds the `n` rows ``x[i * stride :][:width]`` to
    the lanes of `state` from `at`.

    Parameters
    ----------
    step : Step
    step_narrow : Step, optional
        By default `step`.
    in_order : bool
        Whether it adds the rows of a group one after the other: then it gets groups of them of
        narrow columns, too, and otherwise row after row.
    """

    step: Step
    step_narrow: Step | None = None
    in_order: bool = False

    def __call__(
        self, code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, at: Int, width: Int
    ) -> None:
        """Emit the walk."""
        walk_together(code, [self], [x], n, stride, [state], at, width)

    def add_narrow(
        self, code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, at: Int, width: int
    ) -> None:
        """Add rows to lanes that do not fill a vector."""
        step, zero = self.step_narrow or self.step, code.constant(0)
        done = zero
        if self.in_order:
            n_groups, advance = n // GROUP, stride * GROUP
            done = n_groups * GROUP
            add_groups(code, step, x, n_groups, advance, GROUP, stride, state, at, width)
        rest = x.start(done * stride)
        add_groups(code, step, rest, n - done, stride, 1, zero, state, at, width)


def walk_together(
    code: Emitter, walks: Sequence[Walk], xs: Sequence[Numbers], n: Int, stride: Int,
    states: Sequence[Table], at: Int, width: Int,
) -> None:  # fmt: skip
    """Emit walks through rows side by side, each with numbers and a state of its own."""
    parts = list(zip(walks, xs, states, strict=True))
    in_vectors, n_groups = width // VECTOR * VECTOR, n // GROUP
    distance, zero = n_groups * stride, code.constant(0)
    # A single vector stays in registers from group to group.
    turn = n_groups if len(parts) == 1 else n_groups.least(_TURN)
    together = width.equals(VECTOR).choose(turn, 1)
    with code.loop(0, n_groups, together) as group, code.loop(0, in_vectors, VECTOR) as j:
        some = together if len(parts) == 1 else together.least(n_groups - group)
        for walk, x, state in parts:
            rows, to = x.start(group * stride + j), at + j
            add_groups(code, walk.step, rows, some, stride, GROUP, distance, state, to, VECTOR)
    rests = [x.start(distance * GROUP) for x in xs]
    with code.loop(0, in_vectors, VECTOR) as j:
        for (walk, _, state), rest in zip(parts, rests, strict=True):
            rows, to = rest.start(j), at + j
            add_groups(code, walk.step, rows, n % GROUP, stride, 1, zero, state, to, VECTOR)

    def add_narrow(j: Int, some: int) -> None:
        for walk, x, state in parts:
            rows, to = x.start(in_vectors + j), at + in_vectors + j
            walk.add_narrow(code, rows, n, stride, state, to, some)

    code.in_vectors(width - in_vectors, add_narrow, _NARROW)


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
