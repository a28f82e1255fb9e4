"""Elements that are equal though their bits differ, and selection between limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel
from sharedmem.kernels.emitted import RESULT, call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import kind_of
from sharedmem.kernels.loops.vectors import VECTOR

# The number of elements that are counted in one loop, which is vectorized, and copied in another.
RUN = 512


def has_twins(x: Array) -> bool:
    """Return whether there are zeros or NaNs, whose bits may differ though they are equal."""
    return bool(call(_emit_twins, (x.dtype,), len(x), address_of(x)))


def _emit_twins(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    n, x = block.integer(0), block.numbers(1, kind_of(dtype))
    found = code.variable(code.flag(holds=False))

    def look(at: Int, width: int) -> None:
        numbers = x.load(at, width)
        are_twins = numbers.equals(numbers.full(0)) | numbers.differs(numbers)
        found.set(found.get() | code.any(are_twins))

    code.in_vectors(n, look, (VECTOR, 1))
    block.counter(RESULT).store(found.get().choose(1, 0).as_vector(), code.constant(0))


@kernel
def select_between(x: Array, low: Any, high: Any, inside: Array) -> tuple[int, int, int, int, int]:
    """Copy the elements between two limits to `inside`.

    Returns
    -------
    tuple of int
        The numbers of elements less than `low`, equal to it, between, equal to `high`, and NaN.
    """
    n_less = n_low = n_inside = n_high = n_nan = 0
    for first in range(0, len(x), RUN):
        part = x[first : first + RUN]
        for i in range(len(part)):  # which is vectorized
            n_less += part[i] < low
            n_low += part[i] == low
            n_high += part[i] == high
            n_nan += part[i] != part[i]
        for i in range(len(part)):
            inside[n_inside] = part[i]
            n_inside += (part[i] > low) & (part[i] < high)
    if low == high:
        n_high = 0
    return n_less, n_low, n_inside, n_high, n_nan
