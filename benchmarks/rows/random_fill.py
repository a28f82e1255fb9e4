"""Rows of random numbers: NumPy's Generator on one core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import sharedmem
from harness.timing import MIB, NUMPY, OURS, Call, Row, SetUp

SEED = 7
random = sharedmem.random


# Calls return nothing, since the numbers of two generators differ.


def ours(draw: Callable[..., Any], *parameters: float, dtype: str = "f8") -> SetUp:
    def set_up(n: int) -> Call:
        out = sharedmem.zeros(n, dtype)
        return lambda: draw(*parameters, seed=SEED, out=out) is None or None

    return set_up


def numpys(draw: Callable[..., Any], *parameters: float, dtype: str = "") -> SetUp:
    def set_up(n: int) -> Call:
        generator = np.random.default_rng(SEED)
        options = {"dtype": dtype} if dtype else {}
        return lambda: draw(generator, *parameters, n, **options) is None or None

    return set_up


def numpys_in_place(name: str, dtype: str = "f8") -> SetUp:
    def set_up(n: int) -> Call:
        generator, out = np.random.default_rng(SEED), np.zeros(n, dtype)
        return lambda: getattr(generator, name)(out=out, dtype=dtype) is None or None

    return set_up


def permute(n: int) -> Call:
    return lambda: random.permutation(n, seed=SEED) is None or None


def row(title: str, ours: SetUp, numpys: SetUp, itemsize: int = 8) -> Row:
    target = "faster than NumPy times the number of workers"
    return Row(
        f"{title}, 128 MiB", 128 * MIB // itemsize, MIB // 8, {OURS: ours, NUMPY: numpys}, target
    )


Generator = np.random.Generator
ROWS = {
    "uniform": row("uniform", ours(random.uniform), numpys_in_place("random")),
    "uniform-f4": row(
        "uniform, float32", ours(random.uniform, dtype="f4"), numpys_in_place("random", "f4"), 4
    ),
    "normal": row("normal", ours(random.normal), numpys_in_place("standard_normal")),
    "exponential": row(
        "exponential", ours(random.exponential), numpys_in_place("standard_exponential")
    ),
    "integers": row(
        "integers below 1000",
        ours(random.integers, 0, 1000, dtype="i8"),
        numpys(Generator.integers, 0, 1000),
    ),
    "poisson-small": row(
        "poisson, mean 3", ours(random.poisson, 3, dtype="i8"), numpys(Generator.poisson, 3)
    ),
    "permutation": row("permutation", permute, numpys(Generator.permutation)),
}
