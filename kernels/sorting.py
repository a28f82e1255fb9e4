"""Elements that are equal though their bits differ, and selection between limits."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np

from sharedmem.kernels import machine_code
from sharedmem.kernels.compile import kernel
from sharedmem.kernels.loops.emit import Block, entry
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import kind_of
from sharedmem.kernels.loops.vectors import VECTOR

# The number of elements that are counted in one loop, which is vectorized, and copied in another.
RUN = 512


def has_twins(x: Array) -> bool:
    """Return whether there are zeros or NaNs, whose bits may differ though they are equal."""
    block = (ctypes.c_int64 * 3)(address_of(x), len(x))
    machine_code.alone(_twins(x.dtype), ctypes.addressof(block))
    return bool(block[2])


@lru_cache
def _twins(dtype: np.dtype[Any]) -> machine_code.Code:
    def make() -> bytes:
        return machine_code.compile_text(_emit_twins(dtype), unrolls=False)

    return machine_code.load("twins", (dtype.str,), make)


def _emit_twins(dtype: np.dtype[Any]) -> str:
    code = entry()
    block = Block(code)
    x = block.numbers(0, kind_of(dtype))
    found = code.variable(code.flag(holds=False))

    def look(at: Int, width: int) -> None:
        numbers = x.load(at, width)
        are_twins = numbers.equals(numbers.full(0)) | numbers.differs(numbers)
        found.set(found.get() | code.any(are_twins))

    code.in_vectors(block.integer(1), look, (VECTOR, 1))
    block.counter(2).store(found.get().choose(1, 0).as_vector(), code.constant(0))
    code.leave()
    return str(code.module)


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
