"""Elements that are equal though their bits differ, and selection between limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels.emitted import RESULT, call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, kind_of
from sharedmem.kernels.loops.vectors import VECTOR


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


def select_between(x: Array, low: Any, high: Any, inside: Array) -> tuple[int, int, int, int, int]:
    """Copy the elements between two limits to `inside`.

    Returns
    -------
    tuple of int
        The numbers of elements less than `low`, equal to it, between, equal to `high`, and NaN.
    """
    limits, counts = np.array([low, high], x.dtype), np.empty(5, np.int64)
    arrays = (address_of(each) for each in (x, limits, inside, counts))
    call(_emit_selection, (x.dtype,), len(x), *arrays)
    n_less, n_low, n_inside, n_high, n_nan = counts.tolist()
    return n_less, n_low, n_inside, 0 if low == high else n_high, n_nan


def _emit_selection(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    x, limits, inside = (block.numbers(word, kind_of(dtype)) for word in (1, 2, 3))
    ends = [limits.load(code.constant(at), 1) for at in (0, 1)]
    n_less, n_low, n_inside, n_high, n_nan = counts = [
        code.variable(code.constant(0)) for _ in range(5)
    ]

    def look(at: Int, width: int) -> None:
        numbers = x.load(at, width)
        low, high = (end.repeat(width) for end in ends)
        for count, holds in (
            (n_less, numbers < low),
            (n_low, numbers.equals(low)),
            (n_high, numbers.equals(high)),
            (n_nan, numbers.differs(numbers)),
        ):
            count.set(count.get() + code.lanes(holds).count_bits())
        is_inside = (numbers > low) & (numbers < high)
        with code.when(code.any(is_inside)):  # few are
            for lane in range(width):
                place = n_inside.get()
                inside.store(numbers.lane(lane), place)
                n_inside.set(place + code.lanes(is_inside.lane(lane)))

    code.in_vectors(block.integer(0), look, (VECTOR, 1))
    for place, count in enumerate(counts):
        block.numbers(4, WORD).store(count.get().as_vector(), code.constant(place))
