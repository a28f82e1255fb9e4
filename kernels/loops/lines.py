"""Line kernels: they reduce the middle axis of (n_outer, n, n_inner) by a family of formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sharedmem.kernels.loops.emit import CACHE_LINE, Block, Emitter, entry
from sharedmem.kernels.loops.formulas import ComputedNumbers, Formula, modules
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import WIDTHS, Fold, copy_lanes, folder, starter
from sharedmem.kernels.loops.memory import Kind, Numbers, Table
from sharedmem.kernels.loops.vectors import VECTOR, Step, Vector
from sharedmem.kernels.loops.walks import Walk, walk_together

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
#
# A kernel for several forms gets a block for each of them, one after the other. They differ in X,
# STATE, OUT, and SETTING; the words of the first one serve all forms otherwise.
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
    walk : Walk, optional
        What `add_rows` does, if that is a walk: others go with it, see :class:`Team`.
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
    walk: Walk | None = None


def vector_family(
    name: str,
    step: Step,
    n_parts: int,
    fold: Fold,
    finish: Callable[[Sequence[Vector], Vector], Vector] = _first_part,
    in_order: bool = False,
) -> Family:
    """Return a family whose rows are added by a formula, and possibly one after the other."""
    walk = Walk(step, in_order=in_order)

    def add_rows(
        code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, at: Int, width: Int,
        scratch: Table,
    ) -> None:  # fmt: skip
        walk(code, x, n, stride, state, at, width)

    return Family(name, n_parts, add_rows, fold, finish, walk=walk)


class Form(NamedTuple):
    """What the machine code of a line kernel depends on.

    Attributes
    ----------
    family : Family
    identity : tuple of float
        The initial value of each part of a state.
    x, state, out : Kind
        The types of elements, states, and results.
    formula : Formula, optional
        What computes the elements; by default they are in memory.
    """

    family: Family
    identity: Sequence[float]
    x: Kind
    state: Kind
    out: Kind
    formula: Formula | None = None


class Lines:
    """What the kernels for rows and for columns have in common, for one form.

    Parameters
    ----------
    code : Emitter
    form : Form
    place : int
        The place of its block among those of other forms.
    """

    def __init__(self, code: Emitter, form: Form, place: int = 0) -> None:
        self._code, self.form = code, form
        self.block = block = Block(code, N_WORDS * place)
        self.x: Numbers = block.numbers(X, form.x)
        if form.formula is not None:
            first = code.constant(0)
            self.x = ComputedNumbers(code.builder, self.x.pointer, form.formula, first)
        self.start = starter(form.identity)
        self.fold = folder(form.family.fold, form.family.widths)
        self._n_lines = block.integer(N_OUTER) * block.integer(N_INNER)
        self._out = block.numbers(OUT, form.out)
        states = block.numbers(STATE, form.state)
        self.state = Table(states, block.integer(N_PIECES) * self._n_lines, form.family.n_parts)
        self.has_states = states.exist()

    def fold_pieces(self) -> None:
        """Combine the states of the pieces of lines, and write the results if they are wanted."""
        code = self._code
        fold_pieces(code, self.fold, self.state, self._n_lines, self.block.integer(N_PIECES))
        with code.when(self.has_states), code.when(self._out.exist()):
            self.finish(self.state, self._n_lines, code.constant(0))

    def finish(self, lanes: Table, n: Int, at: Int) -> None:
        """Write the results of `n` lanes from a place."""
        out, setting = self._out.start(at), self.block.number(SETTING)
        self._code.call(self._finish_lanes, lanes, n, out, setting)

    def _finish_lanes(
        self, code: Emitter, lanes: Table, n: Int, out: Numbers, setting: Vector
    ) -> None:
        family = self.form.family

        def finish_some(at: Int, width: int) -> None:
            out.store(family.finish(lanes.load(at, width), setting.repeat(width)), at)

        code.in_vectors(n, finish_some, family.widths)


class Team:
    """Forms whose elements are read side by side, and added to lanes by walks; or a single form.

    A part of the elements of all forms fits into the nearest cache.
    """

    def __init__(self, members: Sequence[Lines]) -> None:
        self.members = members
        family = members[0].form.family
        # Those of families that walk are the same.
        self.n_lanes, self.n_rows, self.width = family.n_lanes, family.n_rows, family.width
        self._families = [member.form.family for member in members]

    @property
    def xs(self) -> list[Numbers]:
        """The elements of each member."""
        return [member.x for member in self.members]

    def start_lanes(self, code: Emitter, lanes: Sequence[Table], n: Int) -> None:
        """Set the first `n` lanes of each member to its identity."""
        for member, table in zip(self.members, lanes, strict=True):
            code.call(member.start, table, n)

    def add_rows(
        self, code: Emitter, xs: Sequence[Numbers], n: Int, stride: Int, states: Sequence[Table],
        at: Int, width: Int, scratches: Sequence[Table],
    ) -> None:  # fmt: skip
        """Add rows to the lanes of each member, as :data:`AddRows` does."""
        walks = [family.walk for family in self._families if family.walk is not None]
        if len(walks) > 1:
            walk_together(code, walks, xs, n, stride, states, at, width)
        else:
            (family,), (x,), (state,), (scratch,) = self._families, xs, states, scratches
            family.add_rows(code, x, n, stride, state, at, width, scratch)

    def fold_lanes(self, code: Emitter, lanes: Sequence[Table], width: Int, narrow: Int) -> None:
        """Combine lanes of each member by halves to a few of them."""
        for member, table in zip(self.members, lanes, strict=True):
            some = code.variable(width)
            with code.repeat() as loop:
                loop.leave_if(narrow >= some.get())
                some.set(some.get() // 2)
                code.call(member.fold, table, some.get())


class Kernel:
    """A kernel that reduces lines by one form, or by several in one pass.

    Parameters
    ----------
    forms : sequence of Form
    """

    def __init__(self, forms: Sequence[Form]) -> None:
        self.code = code = entry()
        self.members = [Lines(code, form, place) for place, form in enumerate(forms)]
        self._formulas = [form.formula for form in forms if form.formula is not None]
        self.block = self.members[0].block
        walking = [member for member in self.members if member.form.family.walk is not None]
        others = [member for member in self.members if member.form.family.walk is None]
        self.teams = [Team(team) for team in (walking, *zip(others, strict=True)) if team]

    def integers(self, *words: int) -> Iterator[Int]:
        """Yield words of the block."""
        return map(self.block.integer, words)

    def tables(self, *shapes: tuple[Kind, int, Int]) -> list[Table]:
        """Allocate tables of a kind, and of so many rows of a length."""
        starts, n_bytes = [], self.code.constant(0)
        for kind, n_rows, length in shapes:
            starts.append(n_bytes)
            n_bytes = n_bytes + (length * (n_rows * kind.size)).up_to(CACHE_LINE)
        room = self.code.allocate(n_bytes)
        return [
            Table(Numbers(room.builder, room.start(start).pointer, kind), length, n_rows)
            for start, (kind, n_rows, length) in zip(starts, shapes, strict=True)
        ]

    @contextmanager
    def claims(self) -> Iterator[tuple[Int, Int]]:
        """Emit the block for each run of tasks, from a first one to the one after the last.

        The thread that finishes the last task combines the states of pieces.
        """
        code, block = self.code, self.block
        grain, n_tasks = self.integers(GRAIN, N_TASKS)
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
            for member in self.members:
                member.fold_pieces()
        code.leave()

    def texts(self) -> list[str]:
        """Return the kernel in LLVM's language, and the modules of formulas that it needs."""
        return modules(self.code.module, self._formulas)


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


def emit_fold(forms: Sequence[Form]) -> list[str]:
    """Return the kernel that only combines the states of pieces."""
    code = entry()
    (form,) = forms
    lines = Lines(code, form)
    n_lines, n_pieces = (lines.block.integer(word) for word in (N_OUTER, N_PIECES))
    fold_pieces(code, lines.fold, lines.state, n_lines, n_pieces)
    code.leave()
    return [str(code.module)]
