"""Line kernels: they reduce the middle axis of (n_outer, n, n_inner) by a family of formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sharedmem.kernels.loops.emit import CACHE_LINE, Block, Emitter, entry
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import WIDTHS, Fold, copy_lanes, folder
from sharedmem.kernels.loops.memory import Kind, Numbers, Table
from sharedmem.kernels.loops.vectors import VECTOR, Step, Vector
from sharedmem.kernels.loops.walks import walker

# The words of the block that a line kernel gets. Pointers are addresses of first elements, lengths
# and strides are in elements, and a null pointer means that there is no such array.
#
# X, N_OUTER, OUTER_STRIDE, N: the lines; STRIDE, N_INNER: those of columns
# LENGTH: the number of elements of a line in a piece, which one task reduces
# SIDE: the number of lines that a task reduces side by side
# GROUPS: the number of rows of few columns that are reduced side by side
# GRAIN, N_TASKS: threads claim so many tasks at a time
# STATE: the states of all pieces; by default each line is one piece, and no states are written
# OUT: the results; by default only states are written
# SETTING: a float64 for `Family.finish`
(
    X, N_OUTER, OUTER_STRIDE, N, STRIDE, N_INNER, LENGTH, SIDE, GROUPS, GRAIN, N_TASKS, N_PIECES,
    STATE, OUT, SETTING,
) = range(15)  # fmt: skip
# The next task, and the number of finished ones: on cache lines of their own.
NEXT, DONE = 24, 32
N_WORDS = 40

# More rows than there are, for families that go through all of them at once.
ALL = 1 << 62
# The number of columns that are reduced side by side: their states fit into the caches.
WIDTH = 2048

# ``add_rows(code, x, n, stride, state, at, width, scratch)`` adds rows to lanes, as a
# :data:`~sharedmem.kernels.loops.walks.Walk`; `scratch` has rows of at least `width` numbers.
AddRows = Callable[[Emitter, Numbers, Int, Int, Table, Int, Int, Table], None]


def _first_part(state: Sequence[Vector], setting: Vector) -> Vector:
    return state[0]


@dataclass(frozen=True, eq=False)
class Family:
    """The formulas of a reduction.

    Attributes
    ----------
    name : str
        Under which its machine code is kept: no other family has it.
    n_parts : int
        The number of vectors in a state.
    add_rows : callable
        See :data:`AddRows`.
    fold : callable
        ``fold(a, b)`` combines the states of lanes.
    finish : callable
        ``finish(state, setting)`` returns results; by default the first part of the state.
    n_scratch : int
        The number of rows of scratch space.
    n_rows : int
        The number of rows in a block of columns: memory is read in long runs.
    n_lanes : int
        The number of lanes for a long line of contiguous elements, at most LANES.
    width : int
        The number of columns that are reduced side by side, at least LANES.
    widths : tuple of int
        Those of the vectors that `fold` and `finish` get.
    """

    name: str
    n_parts: int
    add_rows: AddRows
    fold: Fold
    finish: Callable[[Sequence[Vector], Vector], Vector] = _first_part
    n_scratch: int = 0
    n_rows: int = ALL
    n_lanes: int = VECTOR
    width: int = WIDTH
    widths: Sequence[int] = WIDTHS


def vector_family(
    name: str,
    step: Step,
    n_parts: int,
    fold: Fold,
    finish: Callable[[Sequence[Vector], Vector], Vector] = _first_part,
    in_order: bool = False,
) -> Family:
    """Return a family whose rows are added by a formula, and possibly one after the other."""
    walk = walker(step, in_order=in_order)

    def add_rows(
        code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, at: Int, width: Int,
        scratch: Table,
    ) -> None:  # fmt: skip
        walk(code, x, n, stride, state, at, width)

    return Family(name, n_parts, add_rows, fold, finish)


class Form(NamedTuple):
    """What the machine code of a line kernel depends on.

    Attributes
    ----------
    family : Family
    identity : tuple of float
        The initial value of each part of a state.
    x, state, out : Kind
        The types of elements, states, and results.
    """

    family: Family
    identity: Sequence[float]
    x: Kind
    state: Kind
    out: Kind


class Lines:
    """What the kernels for rows and for columns have in common.

    Parameters
    ----------
    code : Emitter
    form : Form
    """

    def __init__(self, code: Emitter, form: Form) -> None:
        self._code, self._form = code, form
        self.block = block = Block(code)
        self.x = block.numbers(X, form.x)
        self.fold = folder(form.family.fold, form.family.widths)
        self._n_lines = block.integer(N_OUTER) * block.integer(N_INNER)
        self._out = block.numbers(OUT, form.out)
        states = block.numbers(STATE, form.state)
        self.state = Table(states, block.integer(N_PIECES) * self._n_lines, form.family.n_parts)
        self.has_states = states.exist()

    def tables(self, *shapes: tuple[Kind, int, Int]) -> list[Table]:
        """Allocate tables of a kind, and of so many rows of a length."""
        starts, n_bytes = [], self._code.constant(0)
        for kind, n_rows, length in shapes:
            starts.append(n_bytes)
            n_bytes = n_bytes + (length * (n_rows * kind.size)).up_to(CACHE_LINE)
        room = self._code.allocate(n_bytes)
        return [
            Table(Numbers(room.builder, room.start(start).pointer, kind), length, n_rows)
            for start, (kind, n_rows, length) in zip(starts, shapes, strict=True)
        ]

    @contextmanager
    def claims(self) -> Iterator[tuple[Int, Int]]:
        """Emit the block for each run of tasks, from a first one to the one after the last.

        The thread that finishes the last task combines the states of pieces.
        """
        code, block = self._code, self.block
        grain, n_tasks = block.integer(GRAIN), block.integer(N_TASKS)
        mine = code.variable(code.constant(0))
        with code.repeat() as loop:
            first = code.claim(block.counter(NEXT), grain)
            loop.leave_if(first >= n_tasks)
            stop = n_tasks.least(first + grain)
            yield first, stop
            mine.set(mine.get() + (stop - first))
        done = mine.get()
        before = code.claim(block.counter(DONE), done)
        with code.when(done > 0), code.when((before + done).equals(n_tasks)):
            fold_pieces(code, self.fold, self.state, self._n_lines, block.integer(N_PIECES))
            with code.when(self.has_states), code.when(self._out.exist()):
                self.finish(self.state, self._n_lines, code.constant(0))
        code.leave()

    def finish(self, lanes: Table, n: Int, at: Int) -> None:
        """Write the results of `n` lanes from a place."""
        out, setting = self._out.start(at), self.block.number(SETTING)
        self._code.call(self._finish_lanes, lanes, n, out, setting)

    def _finish_lanes(
        self, code: Emitter, lanes: Table, n: Int, out: Numbers, setting: Vector
    ) -> None:
        family = self._form.family

        def finish_some(at: Int, width: int) -> None:
            out.store(family.finish(lanes.load(at, width), setting.repeat(width)), at)

        code.in_vectors(n, finish_some, family.widths)


def fold_lanes(
    code: Emitter, fold: Callable[..., None], lanes: Table, width: Int, narrow: Int
) -> None:
    """Combine lanes by halves to a few of them."""
    some = code.variable(width)
    with code.repeat() as loop:
        loop.leave_if(narrow >= some.get())
        some.set(some.get() // 2)
        code.call(fold, lanes, some.get())


def fold_pieces(
    code: Emitter, fold: Callable[..., None], state: Table, n_lines: Int, n_pieces: Int
) -> None:
    """Combine the states of the pieces of lines, those of all first pieces before all second ones.

    The results are in the first states.
    """
    some = code.variable(n_pieces)
    with code.repeat() as loop:
        n = some.get()
        loop.leave_if(code.constant(1) >= n)
        half = n // 2
        code.call(fold, state, half * n_lines)
        with code.when((n % 2) > 0):
            last = state.start((n - 1) * n_lines)
            code.call(copy_lanes, last, n_lines, state.start(half * n_lines))
        some.set(n - half)


def emit_fold(form: Form) -> str:
    """Return the kernel that only combines the states of pieces."""
    code = entry()
    lines = Lines(code, form)
    n_lines, n_pieces = (lines.block.integer(word) for word in (N_OUTER, N_PIECES))
    fold_pieces(code, lines.fold, lines.state, n_lines, n_pieces)
    code.leave()
    return str(code.module)
