"""Merges, keys, and selections against sorts of whole lines."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from sharedmem.kernels import merging, packing, sorting

several = settings(max_examples=100)
# Few values, so that many are equal.
FLOATS = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan])
LINES = hnp.arrays("f8", st.integers(0, 60), elements=FLOATS)


def merge(left, right, out, start, stop):
    source = np.concatenate([left, right])
    runs = (0, 0, len(left)), (len(left), 0, len(right))
    merging.merge_values(source, source, *runs, out, start, stop)


@several
@given(left=LINES, right=LINES, data=st.data())
def test_any_piece_of_merged_runs(left, right, data):
    left, right = (np.sort(run, kind="stable") for run in (left, right))
    expected = np.sort(np.concatenate([left, right]), kind="stable")
    start = data.draw(st.integers(0, len(expected)))
    stop = data.draw(st.integers(start, len(expected)))
    out = np.full(len(expected), 77.0)
    merge(left, right, out, start, stop)
    np.testing.assert_array_equal(out[start:stop], expected[start:stop])
    assert (np.delete(out, range(start, stop)) == 77).all()


@several
@given(left=st.lists(st.booleans()), right=st.lists(st.booleans()))
def test_equal_elements_of_the_left_run_come_first(left, right):
    # -0.0 from the left, 0.0 from the right: equal, but told apart.
    n_ones = sum(left) + sum(right)
    runs = [np.sort(np.where(run, 1.0, zero)) for run, zero in ((left, -0.0), (right, 0.0))]
    out = np.empty(len(left) + len(right))
    merge(*runs, out, 0, len(out))
    n_left = len(left) - sum(left)
    assert np.signbit(out[:n_left]).all()
    assert not np.signbit(out[n_left:]).any()
    assert np.count_nonzero(out) == n_ones


@several
@given(
    x=hnp.arrays("f8", st.integers(1, 50), elements=FLOATS),
    limits=st.tuples(FLOATS, FLOATS).filter(lambda pair: pair[0] <= pair[1]),
)
def test_selection_between_limits(x, limits):
    low, high = map(np.float64, limits)
    inside = np.empty(len(x))
    counts = sorting.select_between(x, low, high, inside)
    between = x[(x > low) & (x < high)]
    n_high = np.count_nonzero(x == high) if low < high else 0
    n_low, n_nan = np.count_nonzero(x == low), np.count_nonzero(np.isnan(x))
    assert counts == (np.count_nonzero(x < low), n_low, len(between), n_high, n_nan)
    np.testing.assert_array_equal(inside[: len(between)], between)


@given(x=LINES)
@several
def test_zeros_and_nans_are_found(x):
    assert sorting.has_twins(x) == ((x == 0) | np.isnan(x)).any()


def test_settle_stops_after_too_many_moves():
    x = np.arange(1000, dtype=np.uint64)[::-1].copy()
    packed = np.arange(1000, dtype=np.uint64)  # all of them in one run
    assert not packing.settle(packed, x, 0, 1000, 10, packing.UNSIGNED)
    packed = np.arange(1000, dtype=np.uint64)
    x[:2] = x[1::-1]
    x[2:] = 2000
    assert packing.settle(packed, x, 0, 1000, 10, packing.UNSIGNED)
    np.testing.assert_array_equal(packed, np.argsort(x, kind="stable"))


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_the_order_of_packed_floats(dtype):
    x = np.array([np.nan, 1, -np.inf, 0.0, -0.0, np.inf, -2, -np.nan] * 4, dtype)
    keys = x.view(f"u{x.itemsize}")
    packed, order = np.empty(len(x), np.uint64), np.empty(0, np.intp)
    digit = max(0, 8 * x.itemsize - 59), 2**59 - 1, 5
    packing.pack(keys, order, packed, 0, len(x), digit, packing.FLOATING)
    assert (np.sort(packed) & np.uint64(31)).tolist() == np.argsort(x, kind="stable").tolist()


@several
@given(x=hnp.arrays("u2", st.integers(1, 60)), data=st.data())
def test_packed_and_unpacked_positions(x, data):
    order = data.draw(st.permutations(range(len(x))).map(np.array))
    start = data.draw(st.integers(0, len(x)))
    stop = data.draw(st.integers(start, len(x)))
    for given_order, expected in ((np.empty(0, np.intp), np.arange(len(x))), (order, order)):
        packed, out = np.zeros(len(x), np.uint64), np.full(len(x), -1)
        packing.pack(x, given_order, packed, start, stop, (3, 0xFF, 6), packing.UNSIGNED)
        np.testing.assert_array_equal(
            packed[start:stop] >> np.uint64(6), (x[expected] >> 3 & 0xFF)[start:stop]
        )
        packing.unpack(packed, given_order, start, stop, 6, out)
        np.testing.assert_array_equal(out[start:stop], expected[start:stop])
        assert (np.delete(out, range(start, stop)) == -1).all()


@given(x=hnp.arrays("i4", st.integers(1, 60)))
@several
def test_bits_that_vary(x):
    expected = int(np.bitwise_or.reduce(x ^ x[0]).view("u4"))
    assert packing.varying_bits(x.view("u4"), x.view("u4")[0], packing.SIGNED) == expected


def test_kernels_of_sorts_are_compiled_without_numba(tmp_path):
    program = """
import os, pathlib, sys
import numpy as np, sharedmem
from sharedmem.kernels import machine_code
machine_code.folders = lambda: [pathlib.Path(os.environ["NUMBA_CACHE_DIR"])]
a = np.random.default_rng(0).random(1 << 18)
for values in (a, np.sort(a)):
    for function in (sharedmem.sort, sharedmem.argsort, sharedmem.unique):
        function(values)
assert len(os.listdir(os.environ["NUMBA_CACHE_DIR"])) > 5
assert "numba" not in sys.modules
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
