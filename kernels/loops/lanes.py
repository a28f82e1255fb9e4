"""Lanes: the states side by side that a line is reduced to, and the queue that threads share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.intrinsics import fetch_add
from sharedmem.kernels.loops.layout import Array

# A long line of contiguous elements is reduced in so many lanes, which are folded at its end:
# enough to fill the vector units of any machine and to hide the latency of additions.
LANES = 64

# An index of this type is never negative: the compiler need not test whether it counts from the
# end, which costs time both to run and to compile.
index = np.uint64
# For a literal as an argument, a part would be compiled again.
number: Any = np.int64


# How often a thread tests, after its last piece, whether the others have finished theirs.
_LOOKS = 10_000
# Where the cursor has the next task, the number of finished ones, and whether the caller knows.
NEXT, DONE, CALLER = 0, 8, 16


def lane_folder(fold: Callable[..., None]) -> Callable[..., None]:
    """Make the kernel that folds lanes, by halves, to a few of them."""

    @part
    def fold_to(lanes: Array, width: int, narrow: int) -> None:
        while width > narrow:
            width //= 2
            fold(lanes, width)

    return fold_to


@part
def wait(cursor: Array, place: int, n: int) -> None:
    """Spin, for a short time, until a number of the cursor has reached `n`."""
    looks = 0
    while looks < _LOOKS and fetch_add(cursor, place, 0) < n:
        looks += 1


@part
def start_lanes(lanes: Array, at: int, n: int, identity: Array) -> None:
    """Set the `n` lanes from `at` to the identity."""
    for s in range(len(identity)):
        for lane in range(n):
            lanes[s, at + lane] = identity[s]


@part
def copy_lanes(lanes: Array, n: int, state: Array, at: int) -> None:
    """Copy the first `n` lanes to the states from `at`."""
    for s in range(len(state)):
        for lane in range(n):
            state[s, at + lane] = lanes[s, lane]
