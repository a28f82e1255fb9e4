"""Dot products, as accurate as if computed in twice the precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels import sums
from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.intrinsics import fma, on_stack
from sharedmem.kernels.loops.lanes import LANES
from sharedmem.kernels.loops.layout import Array, read_only_view
from sharedmem.kernels.reduction import State
from sharedmem.kernels.sums import compensated

two_sum: Any = part(sums.two_sum)


@part
def two_product(a: float, b: float) -> tuple[float, float]:
    """Return the rounded product of `a` and `b`, and its rounding error, exact without underflow.

    References
    ----------
    T. Ogita, S. M. Rump and S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26, 2005,
    algorithm 3.5.
    """
    product = a * b
    return product, fma(a, b, -product)


@part
def _add_products(x: Array, y: Array, width: int, total: Array, lost: Array) -> None:
    for j in range(width):
        product, rest = two_product(np.float64(x[j]), np.float64(y[j]))
        total[j], error = two_sum(total[j], product)
        lost[j] += error + rest


@kernel
def _dot(x: Array, y: Array, total: Array, lost: Array) -> None:
    """Add the products of elements to the lanes of `total`, and rounding errors to `lost`."""
    whole = len(x) // LANES * LANES
    for first in range(0, whole, LANES):
        _add_products(x[first : first + LANES], y[first : first + LANES], LANES, total, lost)
    _add_products(x[whole:], y[whole:], len(x) - whole, total, lost)


_lanes = on_stack(LANES)


@kernel
def _complex_dot(x: Array, y: Array, total: Array, lost: Array) -> None:
    """Add the products of real and imaginary parts, which are neighbors.

    The first LANES are for parts of the same kind, and the others for those of different kinds.
    """
    crossed = _lanes(y)
    for first in range(0, len(x), LANES):
        width = min(LANES, len(x) - first)
        row, other = x[first : first + width], y[first : first + width]
        for j in range(0, width, 2):
            crossed[j] = other[j + 1]
            crossed[j + 1] = other[j]
        if width == LANES:
            _add_products(row, other, LANES, total, lost)
            _add_products(row, crossed, LANES, total[LANES:], lost[LANES:])
        else:
            _add_products(row, other, width, total, lost)
            _add_products(row, crossed, width, total[LANES:], lost[LANES:])


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
    kernel = _complex_dot if n_kinds == 2 else _dot
    lanes = np.zeros((2, n_kinds * LANES))
    kernel(_as_real(x), _as_real(y), *lanes)
    if n_kinds == 1:
        return combine(tuple(lanes))
    return combine(tuple(lanes.reshape(2, 2, LANES // 2, 2).transpose(0, 2, 3, 1)))


def combine(states: State) -> State:
    """Combine states in pairs, along the first axis, until one state is left."""
    total, lost = states
    with np.errstate(all="ignore"):
        while len(total) > 1:
            even = len(total) // 2 * 2
            pairs, error = sums.two_sum(total[0:even:2], total[1:even:2])
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


def _as_real(x: Array) -> Array:
    return read_only_view(x.view(x.real.dtype))
