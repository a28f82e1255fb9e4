"""Elements that are out of order: few are found, and all are put where a stable sort puts them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from sharedmem.kernels import displaced

several = settings(max_examples=100)
FLOATS = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan])
LINES = hnp.arrays("f8", st.integers(1, 90), elements=FLOATS)


def kept_runs(x, cuts):
    """Return the runs that are kept of a line which is read in parts."""
    found = []
    for start, stop in itertools.pairwise(cuts):
        firsts, stops = np.empty((2, (stop - start) // 2 + 1), np.intp)
        n = displaced.keep_rising(x, start, stop, firsts, stops, 1)
        assert n >= 0
        found.append((firsts[:n], stops[:n]))
    firsts, stops = map(np.concatenate, zip(*found, strict=True))
    n = displaced.join_rising(x, firsts, stops, np.array([len(part) for part, _ in found]))
    return firsts[:n], stops[:n]


def indices_of(runs):
    return np.concatenate([np.arange(*run) for run in zip(*runs, strict=True)] or [[]]).astype(int)


@st.composite
def lines_in_parts(draw):
    x = draw(LINES)
    if draw(st.booleans()):
        x = np.sort(x)
        few = draw(st.lists(st.integers(0, len(x) - 1), max_size=4))
        x[few] = draw(hnp.arrays("f8", len(few), elements=FLOATS))
    cuts = draw(st.sets(st.integers(1, len(x)), max_size=3))
    return x, sorted({0, *cuts, len(x)})


@several
@given(lines_in_parts())
def test_kept_elements_are_sorted_and_the_others_few(line):
    x, cuts = line
    kept = indices_of(kept_runs(x, cuts))
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(x[kept], np.sort(x[kept]))
    # The longest nondecreasing subsequence, by dynamic programming.
    ranks = np.searchsorted(np.sort(x), x)
    longest = np.zeros(len(x), int)
    for i in range(len(x)):
        longest[i] = 1 + longest[:i][ranks[:i] <= ranks[i]].max(initial=0)
    assert len(x) - len(kept) <= 2 * (len(x) - longest.max())


@several
@given(lines_in_parts(), st.booleans())
def test_all_elements_are_put_back_in_any_part(line, has_places):
    x, cuts = line
    runs = kept_runs(x, cuts)
    kept = indices_of(runs)
    places = np.setdiff1d(np.arange(len(x)), kept)
    places = places[np.argsort(x[places], kind="stable")]
    values = x[places]
    order = np.full(len(x), -1)
    result = np.full(len(x), 77.0)
    for start, stop in itertools.pairwise(cuts):
        first = int(np.searchsorted(runs[1], start, "right"))
        part = start, stop, first, int((kept < start).sum())
        displaced.put_back(x, *runs, values, places, part, order, True)
        given_places = places if has_places else places[:0]
        displaced.put_back(x, *runs, values, given_places, part, result, False)
    expected = np.argsort(x, kind="stable")
    np.testing.assert_array_equal(order, expected)
    np.testing.assert_array_equal(result, x[expected])
    if has_places:
        assert (np.signbit(result) == np.signbit(x[expected])).all()


@pytest.mark.parametrize("share", [1, 4])
def test_a_line_without_order_is_given_up(share):
    x = np.random.default_rng(0).random(10_000)
    firsts, stops = np.empty((2, len(x) // 2 + 1), np.intp)
    n = displaced.keep_rising(x, 0, len(x), firsts, stops, share)
    assert (n == -1) == (share == 4)
