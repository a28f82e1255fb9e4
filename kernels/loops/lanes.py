"""Lanes: the states side by side that a line is reduced to, and what is done to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sharedmem.kernels.loops.emit import Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.vectors import Vector, transposed

# A long line of contiguous elements is reduced in so many lanes, which are folded at its end:
# enough to fill the vector units of any machine and to hide the latency of additions.
LANES = 64

# Widths of the vectors that lanes are set, folded, and finished in: fewer of them compile faster.
WIDTHS = (8, 1)

# Lines are transposed in squares of this width.
_SQUARE = 4

# Combines two states, of as many vectors as a state has parts.
Fold = Callable[[Sequence[Vector], Sequence[Vector]], Sequence[Vector]]


def starter(identity: Sequence[float]) -> Callable[[Emitter, Table, Int], None]:
    """Return what sets the first `n` lanes to the identity."""

    def start_lanes(code: Emitter, lanes: Table, n: Int) -> None:
        def start(at: Int, width: int) -> None:
            lanes.store([lanes.numbers.full(number, width) for number in identity], at)

        code.in_vectors(n, start, WIDTHS)

    return start_lanes


def copy_lanes(code: Emitter, lanes: Table, n: Int, state: Table) -> None:
    """Copy the first `n` lanes to the first states."""
    code.in_vectors(n, lambda at, width: state.store(lanes.load(at, width), at), WIDTHS)


def turn(
    code: Emitter, x: Numbers, stride: Int, n: Int, n_lines: Int, turned: Numbers, pitch: Int
) -> None:
    """Transpose lines of `n` numbers, `stride` apart, to rows that are `pitch` apart."""

    def turn_rows(i: Int, width: int) -> None:
        def turn_some(line: Int, some: int) -> None:
            lines = [x.load((line + k) * stride + i, width) for k in range(some)]
            rows = transposed(lines) if some > 1 else [lines[0].lane(k) for k in range(width)]
            for k, row in enumerate(rows):
                turned.store(row, (i + k) * pitch + line)

        code.in_vectors(n_lines, turn_some, (_SQUARE, 1) if width > 1 else (1,))

    code.in_vectors(n, turn_rows, (_SQUARE, 1))


def folder(fold: Fold, widths: Sequence[int]) -> Callable[[Emitter, Table, Int], None]:
    """Return what combines each lane below `half` with the lane `half` above it."""

    def fold_lanes(code: Emitter, lanes: Table, half: Int) -> None:
        def fold_some(at: Int, width: int) -> None:
            lanes.store(fold(lanes.load(at, width), lanes.load(at + half, width)), at)

        code.in_vectors(half, fold_some, widths)

    return fold_lanes
