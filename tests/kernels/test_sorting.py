"""Merges, keys, and selections against sorts of whole lines."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from sharedmem.kernels import merging, sorting

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
def test_zeros_and_nans_are_counted(x):
    assert sorting.n_twins(x) == np.count_nonzero((x == 0) | np.isnan(x))


def test_settle_stops_after_too_many_moves():
    n_bits = np.uint64(10)
    x = np.arange(1000, dtype=np.uint64)[::-1].copy()
    rules = (sorting.UNSIGNED, np.uint64(1 << 63), np.uint64(0))
    packed = np.arange(1000, dtype=np.uint64)  # all of them in one run
    assert not sorting.settle(packed, x, 0, 1000, n_bits, rules)
    packed = np.arange(1000, dtype=np.uint64)
    x[:2] = x[1::-1]
    x[2:] = 2000
    assert sorting.settle(packed, x, 0, 1000, n_bits, rules)
    np.testing.assert_array_equal(packed, np.argsort(x, kind="stable"))


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_the_order_of_packed_floats(dtype):
    x = np.array([np.nan, 1, -np.inf, 0.0, -0.0, np.inf, -2, -np.nan], dtype)
    sign, infinity = 1 << (8 * x.itemsize - 1), np.array(np.inf, dtype).view(f"u{x.itemsize}")
    packed = np.empty(len(x), np.uint64)
    shift = max(0, 8 * x.itemsize - 60)
    digit = tuple(map(np.uint64, (shift, 2**60 - 1, 4)))
    rules = sorting.FLOATING, np.uint64(sign), np.uint64(infinity)
    order = np.empty(0, np.intp)
    sorting.pack(x.view(f"u{x.itemsize}"), order, packed, 0, len(x), digit, rules)
    assert (np.sort(packed) & np.uint64(15)).tolist() == np.argsort(x, kind="stable").tolist()
