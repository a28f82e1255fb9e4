"""Lanes: what a line is reduced to side by side, and what threads that share the work know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.intrinsics import fetch_add

# A long line of contiguous elements is reduced in this many lanes side by side, which are folded at
# its end: enough to fill the vector units of any machine and to hide the latency of additions.
LANES = 64

Array = NDArray[Any]
# An index of this type is never negative: the compiler need not look whether it counts from the
# end. It costs a third of the time of a slice, both to run and to compile.
index = np.uint64
# For a literal as an argument, a part would be compiled again.
number: Any = np.int64


# How often threads look, after their last piece, whether the others have done theirs.
_LOOKS = 10_000
# Where the cursor has the next piece, how many are done, and whether the caller knows.
NEXT, DONE, CALLER = 0, 8, 16


def lane_folder(fold: Callable[..., None]) -> Callable[..., None]:
    """Make what folds lanes, by halves, to a few of them."""

    @part
    def fold_to(lanes: Array, width: int, narrow: int) -> None:
        while width > narrow:
            width //= 2
            fold(lanes, width)

    return fold_to


@part
def wait(cursor: Array, place: int, n: int) -> None:
    """Wait awake, for a short time, until a number has reached `n`."""
    looks = 0
    while looks < _LOOKS and fetch_add(cursor, place, 0) < n:
        looks += 1


@part
def start_lanes(lanes: Array, at: int, n: int, identity: Array) -> None:
    """Let `n` lanes start from the identity."""
    for s in range(len(identity)):
        for lane in range(n):
            lanes[s, at + lane] = identity[s]


@part
def copy_lanes(lanes: Array, n: int, state: Array, at: int) -> None:
    """Give the `n` states from `at` on the first lanes."""
    for s in range(len(state)):
        for lane in range(n):
            state[s, at + lane] = lanes[s, lane]
