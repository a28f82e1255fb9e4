"""Dot products, as accurate as if computed in twice the precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import LANES
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import DOUBLE, Table, kind_of
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.quiet import quiet
from sharedmem.kernels.reduction import State
from sharedmem.kernels.sums import compensated, two_sum

# Rows of LANES elements whose products are added to lanes that stay in registers.
_GROUP = 4
_WIDTH = 8


def two_product(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """Return the rounded product of `a` and `b`, and its rounding error, exact without underflow.

    References
    ----------
    T. Ogita, S. M. Rump and S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26, 2005,
    algorithm 3.5.
    """
    product = a * b
    return product, a.fma(b, -product)


def _emit_dot(code: Emitter, block: Block, dtype: np.dtype[Any], n_kinds: int) -> None:
    """Add the products of elements to the lanes of a sum, and rounding errors to those of another.

    The real and imaginary parts of complex numbers are neighbors. They have lanes for products of
    parts of the same kind, and others for those of different kinds.
    """
    n, lanes = block.integer(2), block.numbers(3, DOUBLE)
    x, y = (block.numbers(word, kind_of(dtype)) for word in (0, 1))
    states = Table(lanes, code.constant(n_kinds * LANES), 2)

    def add(first: Int, lane: Int, n_rows: int, width: int) -> None:
        crossed = [place ^ 1 for place in range(width)]
        kinds = [states.start(lane + kind * LANES) for kind in range(n_kinds)]
        sums = [each.load(code.constant(0), width) for each in kinds]
        for row in range(n_rows):
            at = first + lane + row * LANES
            a, b = (side.load(at, width).convert(DOUBLE.type) for side in (x, y))
            for kind, other in zip(range(n_kinds), (b, b.pick(b, crossed)), strict=False):
                product, rest = two_product(a, other)
                total, error = two_sum(sums[kind][0], product)
                sums[kind] = [total, sums[kind][1] + (error + rest)]
        for each, vectors in zip(kinds, sums, strict=True):
            each.store(vectors, code.constant(0))

    def add_rows(row: Int, n_rows: int) -> None:
        with code.loop(0, LANES, _WIDTH) as lane:
            add(row * LANES, lane, n_rows, _WIDTH)

    n_rows = n // LANES
    code.in_vectors(n_rows, add_rows, (_GROUP, 1))
    first = n_rows * LANES
    code.in_vectors(n - first, lambda lane, width: add(first, lane, 1, width), (_WIDTH, n_kinds))


def has_dot(dtype: np.dtype[Any]) -> bool:
    """Return whether there is a kernel for lines of `dtype`."""
    return dtype.char in "fdFD"


def dot(x: Array, y: Array) -> State:
    """Return the dot product of two chunks of lines as a state: a sum and its rounding error.

    Both are contiguous and of one dtype, which has a kernel. For complex numbers, a sum has the
    shape (2, 2): of products of the real and the imaginary parts of `x` with the same and with the
    other parts of `y`.
    """
    n_kinds = 2 if x.dtype.kind == "c" else 1
    lanes = np.zeros((2, n_kinds * LANES))
    arrays, n = (address_of(x), address_of(y)), n_kinds * len(x)
    call(_emit_dot, (x.real.dtype, n_kinds), *arrays, n, address_of(lanes))
    if n_kinds == 1:
        return combine(tuple(lanes))
    return combine(tuple(lanes.reshape(2, 2, LANES // 2, 2).transpose(0, 2, 3, 1)))


@quiet
def combine(states: State) -> State:
    """Combine states in pairs, along the first axis, until one state is left."""
    total, lost = states
    while len(total) > 1:
        even = len(total) // 2 * 2
        pairs, error = two_sum(total[0:even:2], total[1:even:2])
        total = np.concatenate([pairs, total[even:]])
        lost = np.concatenate([lost[0:even:2] + lost[1:even:2] + error, lost[even:]])
    return total[0], lost[0]


def value(state: State, conjugate: bool) -> Array:
    """Return the dot product of a state, with `x` conjugated if `conjugate`."""
    if np.ndim(state[0]) == 0:
        return compensated(*state)
    # i * i = -1, and the imaginary part of x has the other sign if it is conjugated.
    signs = np.array([[1, 1], [1, -1]] if conjugate else [[1, 1], [-1, 1]])
    parts = compensated(*combine((state[0] * signs, state[1] * signs)))
    number: Array = parts.view(np.complex128)[0]
    return number
