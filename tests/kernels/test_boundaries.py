"""Lines of all lengths around the sizes of pieces, groups, lanes, batches, and chunks.

The sizes compiled into kernels are small, so arrays of some hundred elements exceed them. Pieces
are small here as well, so that every remainder of every size occurs.
"""

import math
import warnings

import numpy as np
import pytest

import sharedmem
from sharedmem.kernels.loops import pieces
from sharedmem.machine.tuning import Tuning

RNG = np.random.default_rng(0)
NUMBERS = RNG.integers(-40, 41, 1 << 20) / 4  # whose sums are exact
FACTORS = RNG.choice([-1.0, 1.0, 1.0, 0.5, 2.0], 1 << 20)  # and products
HOLEY = np.where(RNG.random(1 << 20) < 0.2, np.nan, NUMBERS)
SUMS = ["sum", "mean", "nansum", "nanmean", "count_nonzero", "prod"]
EXTREMA = ["min", "max", "nanmin", "nanmax", "argmin", "argmax"]
EXACT = SUMS + EXTREMA
CLOSE = ["var", "nanvar", "moments", "norm"]

# Lengths and numbers of lines around the sizes compiled into kernels.
HEIGHTS = [*range(1, 10), 15, 16, 17, 31, 32, 33, *range(38, 43), 64, 65, *range(71, 75)]
WIDTHS = [*range(1, 10), 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 96, 97]
LENGTHS = [*range(1, 35), *range(39, 42), *range(63, 66), *range(79, 82), *range(126, 131)]
LONG_LENGTHS = [255, 257, 1023, 1024, 1025, 1040, 1087, 1088, 1089, 1120, 1151, 1153]


def oracle(name):
    if name == "norm":
        return lambda a, axis: np.sqrt(np.sum(a * a, axis))
    if name == "moments":
        return lambda a, axis: np.stack([np.mean(a, axis), np.var(a, axis)])
    return getattr(np, name)


def compute(name, a, axis):
    if name == "norm":
        return sharedmem.norm(a, axis=axis)
    if name == "moments":
        return np.stack(sharedmem.moments(a, axis)[:2])
    return getattr(sharedmem, name)(a, axis)


def assert_numpys(name, shapes, axis):
    is_same = np.array_equal if name in EXACT else np.allclose
    data = HOLEY if name.startswith("nan") else FACTORS if name == "prod" else NUMBERS
    expect = oracle(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of lines that are all NaN
        for shape in shapes:
            a = data[: math.prod(shape)].reshape(shape)
            assert is_same(compute(name, a, axis), expect(a, axis), equal_nan=True), shape


CHUNK_BYTES = Tuning().chunk_bytes


@pytest.fixture
def small_pieces(monkeypatch, tuned):
    for name, value in {"PIECE": 40, "AREA": 100, "HEIGHT": 8, "WIDTH": 48}.items():
        monkeypatch.setattr(pieces, name, value)
    tuned(chunk_bytes=1 << 13)


@pytest.fixture
def real_chunks(tuned):
    tuned(chunk_bytes=CHUNK_BYTES, lines_per_chunk=1024)


@pytest.mark.parametrize("name", EXACT + CLOSE)
def test_columns_of_all_heights_and_widths(name, small_pieces):
    assert_numpys(name, [(n, width) for n in HEIGHTS for width in WIDTHS], 0)
    assert_numpys(name, [(3, n, 2) for n in HEIGHTS], 1)


@pytest.mark.parametrize("name", EXACT + CLOSE)
def test_rows_of_all_lengths(name, small_pieces, monkeypatch):
    assert_numpys(name, [(n,) for n in LENGTHS], 0)
    for piece in (40, 1100):
        monkeypatch.setattr(pieces, "PIECE", piece)
        assert_numpys(name, [(n_lines, n) for n in LENGTHS for n_lines in (1, 2, 65)], 1)
    assert_numpys(name, [(n_lines, n) for n in LONG_LENGTHS for n_lines in (1, 64)], 1)


@pytest.mark.parametrize("name", ["sum", "min", "prod", *CLOSE])
def test_real_sizes_of_pieces(name, real_chunks):
    for width in (2, 5, 32):
        height = pieces.AREA // width
        steps = (-1, 0, 1, 3, 32 // width)
        assert_numpys(name, [(n * height + step, width) for n in (1, 2) for step in steps], 0)
    assert_numpys(name, [(n * pieces.PIECE + step,) for n in (1, 5) for step in (-1, 0, 1)], 0)
    chunk = CHUNK_BYTES // 8
    assert_numpys(name, [(chunk + step,) for step in (-1, 0, 1)], 0)
    assert_numpys(name, [(pieces.WIDTH + step, 3) for step in (-1, 0, 1)], 1)
    assert_numpys(name, [(40, pieces.WIDTH + step) for step in (-1, 0, 1)], 0)
