"""Steps of scans, and chains of steps side by side: each step waits for the one before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sharedmem.kernels import sums
from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.lanes import LANES, index, number
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.vector_kernels import Elements, walker
from sharedmem.kernels.loops.vectors import VECTOR, Vector, tree_sum

# The number of chains that a chunk of a line is scanned as.
CHAINS = 4
# Sums below this do not overflow, however they are rounded.
_LARGE = 1e308

two_sum: Any = part(sums.two_sum)


# A step takes the state of a chain, for sums the rounded sum and its excess over the exact one, and
# an element. It returns the new state and the result.
@part
def add_float(total: Any, excess: Any, element: Any) -> Any:
    """Add to a compensated sum."""
    total, lost = two_sum(total, element)
    excess -= lost
    best = total - excess  # keeps -0.0
    return total, excess, best if best - best == 0 else total


@part
def add(total: Any, excess: Any, element: Any) -> Any:
    """Add exactly."""
    total = total + element
    return total, excess, total


@part
def multiply(total: Any, excess: Any, element: Any) -> Any:
    """Multiply."""
    total = total * element
    return total, excess, total


@part
def maximum(total: Any, excess: Any, element: Any) -> Any:
    """Keep the larger one, or NaN."""
    total = total if total >= element or total != total else element
    return total, excess, total


@part
def minimum(total: Any, excess: Any, element: Any) -> Any:
    """Keep the smaller one, or NaN."""
    total = total if total <= element or total != total else element
    return total, excess, total


# A state: the sum, its rounding error, and the sum of the magnitudes.
def _add_sizes_too(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    total, lost, size = state
    terms = [row.widen(total) for row in rows]
    return *sums.add_exactly(total, lost, terms), size + tree_sum(list(map(abs, terms)))


_walk_sums = walker(_add_sizes_too, 3)


@part
def sum_chain(x: Array, p: int, n: int, identity: Any, lanes: Array) -> Any:
    """Return the sum of `n` elements, its excess over the exact sum, and a bound.

    No sum of some of the elements exceeds the bound.
    """
    for j in range(LANES):
        lanes[0, j], lanes[1, j], lanes[2, j] = identity, 0, 0
    width = number(VECTOR)
    _walk_sums(x, p, n // width, width, lanes, number(0), width)
    half = VECTOR
    while half > 1:
        half //= 2
        for j in range(half):
            lanes[0, j], error = two_sum(lanes[0, j], lanes[0, j + half])
            lanes[1, j] += lanes[1, j + half] + error
            lanes[2, j] += lanes[2, j + half]
    total, lost, size = lanes[0, 0], lanes[1, 0], lanes[2, 0]
    for i in range(p + n // width * width, p + n):
        element = np.float64(x[index(i)])
        total, error = two_sum(total, element)
        lost += error
        size += abs(element)
    return total, -lost, size


@part
def is_safe(total: Any, size: Any) -> bool:
    """Return whether sums are finite in any order of additions, or stay infinite or NaN."""
    return bool(size < _LARGE and (total - total != 0 or abs(total) + size < _LARGE))


@part
def always(total: Any, size: Any) -> bool:
    """Return True: chains of exact operations may always be joined."""
    return True


def chain_reducer(step: Callable[..., Any]) -> Callable[..., Any]:
    """Make the part that does what :func:`sum_chain` does, for exact operations."""

    @part
    def reduce_chain(x: Array, p: int, n: int, identity: Any, lanes: Array) -> Any:
        total = lanes[0]
        for j in range(LANES):
            total[j] = identity
        nothing = identity - identity
        for q in range(p, p + n - n % LANES, LANES):
            for j in range(LANES):
                total[j] = step(total[j], nothing, x[index(q + j)])[0]
        for i in range(p + n - n % LANES, p + n):
            total[0] = step(total[0], nothing, x[index(i)])[0]
        for j in range(1, LANES):
            total[0] = step(total[0], nothing, total[j])[0]
        return total[0], 0, 0

    return reduce_chain


def chain_scanner(step: Callable[..., Any]) -> Callable[..., None]:
    """Make the part that scans `n` elements from `p` as the chain `at` of `state`."""

    @part
    def scan_chain(x: Array, out: Array, p: int, n: int, state: Array, at: int) -> None:
        number = state.dtype.type
        total, excess = state[0, at], state[1, at]
        for i in range(p, p + n):
            total, excess, out[index(i)] = step(total, excess, number(x[index(i)]))
        state[0, at], state[1, at] = total, excess

    return scan_chain


def four_scanner(step: Callable[..., Any]) -> Callable[..., None]:
    """Make the part that scans four chains of `n` elements, which start `distance` apart."""

    @part
    def scan_four(x: Array, out: Array, p: int, distance: int, n: int, state: Array) -> None:
        number = state.dtype.type
        t0, t1, t2, t3 = state[0, 0], state[0, 1], state[0, 2], state[0, 3]
        e0, e1, e2, e3 = state[1, 0], state[1, 1], state[1, 2], state[1, 3]
        for i in range(p, p + n):
            j, k, m = i + distance, i + 2 * distance, i + 3 * distance
            t0, e0, out[index(i)] = step(t0, e0, number(x[index(i)]))
            t1, e1, out[index(j)] = step(t1, e1, number(x[index(j)]))
            t2, e2, out[index(k)] = step(t2, e2, number(x[index(k)]))
            t3, e3, out[index(m)] = step(t3, e3, number(x[index(m)]))
        state[0, 0], state[0, 1], state[0, 2], state[0, 3] = t0, t1, t2, t3
        state[1, 0], state[1, 1], state[1, 2], state[1, 3] = e0, e1, e2, e3

    return scan_four


def _turned(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """Transpose four vectors of four elements."""

    def pick(a: Any, b: Any, *places: int) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), 4), places))

    even = [pick(a, b, 0, 4, 2, 6) for a, b in (rows[:2], rows[2:])]
    odd = [pick(a, b, 1, 5, 3, 7) for a, b in (rows[:2], rows[2:])]
    left = [pick(*half, 0, 1, 4, 5) for half in (even, odd)]
    return left + [pick(*half, 2, 3, 6, 7) for half in (even, odd)]


def _add_vector(total: Vector, excess: Vector, element: Vector) -> tuple[Vector, Vector, Vector]:
    """Add to four compensated sums: see :func:`add_float`."""
    total, lost = sums.two_sum(total, element)
    excess = excess - lost
    best = total - excess
    return total, excess, (best - best).differs(best.full(0)).choose(total, best)


# LLVM does not vectorize over four chains, whose elements are far apart in memory.
@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _block_scanner(typing: Any, x: Any, out: Any, p: Any, distance: Any, n: Any, state: Any) -> Any:
    """Scan four chains of sums, four elements of each at a time, `n` times."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, out, p, distance, n, state = arguments
        kinds = signature.args
        source = Elements(context, builder, kinds[0], x, CHAINS)
        target = Elements(context, builder, kinds[1], out, CHAINS)
        states = Elements(context, builder, kinds[5], state, CHAINS)
        number = p.type
        parts = [states.load(number(0)), states.load(number(CHAINS))]
        variables = [cgutils.alloca_once_value(builder, part.value) for part in parts]
        starts = [builder.add(p, builder.mul(distance, number(k))) for k in range(CHAINS)]
        with cgutils.for_range(builder, n) as loop:
            done = builder.mul(loop.index, number(CHAINS))
            places = [builder.add(start, done) for start in starts]
            rows = [source.load(place).widen(parts[0]).value for place in places]
            total, excess = (
                part.like(builder.load(variable))
                for part, variable in zip(parts, variables, strict=True)
            )
            results = []
            for column in _turned(builder, rows):
                total, excess, result = _add_vector(total, excess, total.like(column))
                results.append(result.value)
            for row, place in zip(_turned(builder, results), places, strict=True):
                target.store(row, place)
            builder.store(total.value, variables[0])
            builder.store(excess.value, variables[1])
        states.store(builder.load(variables[0]), number(0))
        states.store(builder.load(variables[1]), number(CHAINS))
        return context.get_dummy_value()

    number = types.int64
    return types.void(x, out, number, number, number, state), generate


_scan_blocks: Any = _block_scanner
_scan_rest = four_scanner(add_float)


@part
def scan_four_sums(x: Array, out: Array, p: int, distance: int, n: int, state: Array) -> None:
    """Scan four chains of sums: see :func:`four_scanner`."""
    n_blocks = n // CHAINS
    _scan_blocks(x, out, p, distance, n_blocks, state)
    done = n_blocks * CHAINS
    _scan_rest(x, out, p + done, distance, n - done, state)
