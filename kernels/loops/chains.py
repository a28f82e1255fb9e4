"""Chains of steps of scans: each step waits for the one before it, and chains are side by side."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from sharedmem.kernels import sums
from sharedmem.kernels.loops.emit import CACHE_LINE, Block, Emitter, entry
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import LANES
from sharedmem.kernels.loops.memory import DOUBLE, Kind, Numbers, Table, kind_of
from sharedmem.kernels.loops.vectors import VECTOR, Vector, tree_sum
from sharedmem.kernels.loops.walks import GROUP, add_groups

# The words of the block that a kernel gets.
#
# X, OUT: the addresses of the elements and of the results, which may be the same
# N, N_LINES: the number of elements of a line, and of lines, or of groups of lines side by side
# STRIDE, WIDTH: of lines side by side, the distance of two elements, and the number of lines
# GRAIN, N_CHUNKS: the number of elements in a chunk of a line, and of chunks
# STARTS: the address of the states at the start of each chunk, and after the last one
X, OUT, N, N_LINES, STRIDE, WIDTH, GRAIN, N_CHUNKS, STARTS = range(9)
# The next chunk, and the number of chunks whose start is known: on cache lines of their own.
NEXT, READY = 24, 32
N_WORDS = 40

# The number of chains that a chunk of a line is scanned as.
CHAINS = 4

# The state of a chain: for sums the rounded sum and its excess over the exact one.
State = Sequence[Vector]


class Step(NamedTuple):
    """A step of a chain.

    Attributes
    ----------
    name : str
        Under which the machine code of its kernels is kept.
    n_parts : int
        The number of vectors in a state: two of sums, which are float64, and one of others.
    apply : callable
        ``apply(state, element)`` returns the new state, and the result.
    identity : callable
        ``identity(dtype)`` returns the state that a scan starts from.
    """

    name: str
    n_parts: int
    apply: Callable[[State, Vector], tuple[State, Vector]]
    identity: Callable[[np.dtype[Any]], Sequence[float]]


def _add_float(state: State, element: Vector) -> tuple[State, Vector]:
    """Add to a compensated sum."""
    total, lost = sums.two_sum(state[0], element)
    excess = state[1] - lost
    best = total - excess  # keeps -0.0
    return (total, excess), (best - best).differs(best.full(0)).choose(total, best)


def _add(state: State, element: Vector) -> tuple[State, Vector]:
    total = state[0] + element
    return (total,), total


def _multiply(state: State, element: Vector) -> tuple[State, Vector]:
    total = state[0] * element
    return (total,), total


def _maximum(state: State, element: Vector) -> tuple[State, Vector]:
    """Keep the larger one, or NaN."""
    return _keep(state[0] >= element, state[0], element)


def _minimum(state: State, element: Vector) -> tuple[State, Vector]:
    """Keep the smaller one, or NaN."""
    return _keep(state[0] <= element, state[0], element)


def _keep(holds: Vector, total: Vector, element: Vector) -> tuple[State, Vector]:
    if total.is_float:
        holds = holds | total.differs(total)
    total = holds.choose(total, element)
    return (total,), total


def _smallest(dtype: np.dtype[Any]) -> tuple[float]:
    return (-np.inf if dtype.kind == "f" else int(np.iinfo(dtype).min),)


def _largest(dtype: np.dtype[Any]) -> tuple[float]:
    return (np.inf if dtype.kind == "f" else int(np.iinfo(dtype).max),)


# -0.0 + x is x, also for x = -0.0.
SUM = Step("sum", 2, _add_float, lambda dtype: (-0.0, 0.0))
INTEGER_SUM = Step("integer-sum", 1, _add, lambda dtype: (0,))
PRODUCT = Step("product", 1, _multiply, lambda dtype: (1,))
MAXIMUM = Step("maximum", 1, _maximum, _smallest)
MINIMUM = Step("minimum", 1, _minimum, _largest)


class ScanKernel:
    """What the kernels of a scan have in common."""

    def __init__(self, step: Step, dtype: np.dtype[Any]) -> None:
        self.code, self.step = entry(), step
        self.kind = kind_of(dtype)
        self.state = DOUBLE if step.n_parts == 2 else self.kind
        self.block = Block(self.code)
        self.x, self.out = (self.block.numbers(place, self.kind) for place in (X, OUT))
        self.n, self.n_lines = self.block.integer(N), self.block.integer(N_LINES)
        self._identity = step.identity(dtype)

    def identity(self, width: int) -> list[Vector]:
        """Return the state that a scan starts from."""
        bits = 8 * self.state.size
        wrapped = [
            number - 2**bits if isinstance(number, int) and number >= 2 ** (bits - 1) else number
            for number in self._identity
        ]
        return [self.x_like.full(number, width) for number in wrapped]

    @property
    def x_like(self) -> Numbers:
        """Return numbers of the type of states."""
        return Numbers(self.code.builder, self.x.pointer, self.state)

    def text(self) -> str:
        """Return the kernel in LLVM's language."""
        self.code.leave()
        return str(self.code.module)


def table(code: Emitter, kind: Kind, n_rows: int, length: int) -> Table:
    """Return a table on the stack."""
    builder = code.builder
    with builder.goto_entry_block():
        room = builder.alloca(ir.ArrayType(kind.type, n_rows * length))
        room.align = CACHE_LINE
    room.type = ir.PointerType()  # and not of the whole room
    return Table(Numbers(builder, room, kind), code.constant(length), n_rows)


def scan_chain(
    code: Emitter, step: Step, x: Numbers, out: Numbers, n: Int, states: Table, at: Int
) -> None:
    """Scan `n` elements as the chain `at` of some states."""
    parts = [code.variable(part) for part in states.load(at, 1)]
    with code.loop(0, n) as i:
        before = [part.get() for part in parts]
        after, result = step.apply(before, x.load(i, 1).widen(before[0]))
        for part, value in zip(parts, after, strict=True):
            part.set(value)
        out.store(result, i)
    states.store([part.get() for part in parts], at)


def scan_four(
    code: Emitter, step: Step, x: Numbers, out: Numbers, distance: Int, n: Int, states: Table
) -> None:
    """Scan four chains of `n` elements, which start `distance` apart."""
    done = n // CHAINS * CHAINS
    _scan_blocks(code, step, x, out, distance, done, states)
    starts = [distance * k for k in range(CHAINS)]
    chains = [
        [code.variable(part) for part in states.load(code.constant(k), 1)] for k in range(CHAINS)
    ]
    with code.loop(done, n) as i:
        for start, parts in zip(starts, chains, strict=True):
            before = [part.get() for part in parts]
            after, result = step.apply(before, x.load(start + i, 1).widen(before[0]))
            for part, value in zip(parts, after, strict=True):
                part.set(value)
            out.store(result, start + i)
    for k, parts in enumerate(chains):
        states.store([part.get() for part in parts], code.constant(k))


def _scan_blocks(
    code: Emitter, step: Step, x: Numbers, out: Numbers, distance: Int, n: Int, states: Table
) -> None:
    """Scan four chains, four elements of each at a time: LLVM does not vectorize over chains."""
    zero = code.constant(0)
    parts = [code.variable(part) for part in states.load(zero, CHAINS)]
    starts = [distance * k for k in range(CHAINS)]
    with code.loop(0, n, CHAINS) as at:
        state: State = [part.get() for part in parts]
        rows = [x.load(start + at, CHAINS).widen(state[0]) for start in starts]
        results = []
        for column in _turned(rows):
            state, result = step.apply(state, column)
            results.append(result)
        for start, row in zip(starts, _turned(results), strict=True):
            out.store(row, start + at)
        for part, value in zip(parts, state, strict=True):
            part.set(value)
    states.store([part.get() for part in parts], zero)


def _turned(rows: Sequence[Vector]) -> list[Vector]:
    """Transpose four vectors of four numbers."""
    builder, like = rows[0].builder, rows[0]

    def pick(a: Any, b: Any, *lanes: int) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), CHAINS), lanes)
        return builder.shuffle_vector(a, b, mask)

    values = [row.value for row in rows]
    pairs = [(values[0], values[1]), (values[2], values[3])]
    even = [pick(*pair, 0, 4, 2, 6) for pair in pairs]
    odd = [pick(*pair, 1, 5, 3, 7) for pair in pairs]
    low = [pick(*half, 0, 1, 4, 5) for half in (even, odd)]
    return [
        like.like(value) for value in (*low, *(pick(*half, 2, 3, 6, 7) for half in (even, odd)))
    ]


def reduce_chain(scan: ScanKernel, x: Numbers, n: Int, found: Table, at: Int) -> None:
    """Write what `n` elements add to the state of a chain to the column `at` of `found`."""
    if scan.step is SUM:
        _sum_chain(scan.code, x, n, found, at)
        return
    code, step = scan.code, scan.step
    in_lanes, one = n // LANES * LANES, code.constant(1)
    parts = [code.variable(scan.identity(VECTOR)[0]) for _ in range(LANES // VECTOR)]
    with code.loop(0, in_lanes, LANES) as first:
        for place, part in enumerate(parts):
            element = x.load(first + place * VECTOR, VECTOR)
            part.set(step.apply([part.get()], element)[1])
    lanes = table(code, scan.state, 1, LANES)
    for place, part in enumerate(parts):
        lanes.store([part.get()], code.constant(place * VECTOR))
    (first_lane,) = lanes.load(code.constant(0), 1)
    total = code.variable(first_lane)
    with code.loop(in_lanes, n) as i:
        total.set(step.apply([total.get()], x.load(i, 1))[1])
    with code.loop(one, LANES) as lane:
        total.set(step.apply([total.get()], lanes.load(lane, 1)[0])[1])
    found.store([total.get()], at)


# A state: the sum, its rounding error, and the sum of the magnitudes.
def _add_sizes_too(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    total, lost, size = state
    terms = [row.widen(total) for row in rows]
    return *sums.add_exactly(total, lost, terms), size + tree_sum(list(map(abs, terms)))


def _sum_chain(code: Emitter, x: Numbers, n: Int, found: Table, at: Int) -> None:
    """Write the sum of `n` elements, its excess over the exact sum, and a bound.

    No sum of some of the elements exceeds the bound.
    """
    zero, width = code.constant(0), code.constant(VECTOR)
    lanes = table(code, DOUBLE, 3, VECTOR)
    lanes.store([lanes.numbers.full(number, VECTOR) for number in (-0.0, 0.0, 0.0)], zero)
    n_rows = n // VECTOR
    n_groups = n_rows // GROUP
    distance = n_groups * VECTOR
    add_groups(code, _add_sizes_too, x, n_groups, width, GROUP, distance, lanes, zero, VECTOR)
    rest = x.start(distance * GROUP)
    add_groups(code, _add_sizes_too, rest, n_rows % GROUP, width, 1, zero, lanes, zero, VECTOR)
    half = VECTOR
    while half > 1:
        half //= 2
        a, b = lanes.load(zero, half), lanes.load(code.constant(half), half)
        total, error = sums.two_sum(a[0], b[0])
        lanes.store([total, a[1] + (b[1] + error), a[2] + b[2]], zero)
    parts = [code.variable(part) for part in lanes.load(zero, 1)]
    with code.loop(n_rows * VECTOR, n) as i:
        total, lost, size = (part.get() for part in parts)
        element = x.load(i, 1).widen(total)
        total, error = sums.two_sum(total, element)
        for part, value in zip(parts, (total, lost + error, size + abs(element)), strict=True):
            part.set(value)
    total, lost, size = (part.get() for part in parts)
    found.store([total, -lost, size], at)
