"""Natural runs: found in any part of a line, and turned where they fall."""

import itertools

import numpy as np
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from sharedmem.kernels.natural_runs import FALLS, FLAT, RISES, find_runs, turn_run

several = settings(max_examples=100)
FLOATS = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan])
LINES = hnp.arrays("f8", st.integers(1, 9), elements=FLOATS)


@st.composite
def parts_of_lines(draw):
    """Draw a line whose elements repeat, and a part of it."""
    few = draw(LINES)
    x = np.repeat(few, draw(hnp.arrays(int, len(few), elements=st.integers(1, 40))))
    start = draw(st.integers(0, len(x) - 1))
    return x, start, draw(st.integers(start + 1, len(x)))


def ways_of(x, ties):
    """Return the ways in which all elements go on from those before them."""
    bits, ranks = x.view("u8"), np.searchsorted(np.sort(x), x)
    same = (bits[1:] == bits[:-1]).all()
    falls = (ranks[1:] < ranks[:-1]) | (ties & (bits[1:] == bits[:-1]))
    ways = {RISES} if (ranks[1:] >= ranks[:-1]).all() else set()
    ways |= {FALLS} if falls.all() else set()
    return {FLAT} if len(x) == 1 or (ties and same) else ways


@several
@given(parts_of_lines(), st.booleans())
def test_runs_are_as_long_as_they_can_be(part, ties):
    x, start, stop = part
    starts, ways = np.empty(len(x), np.intp), np.empty(len(x), np.uint8)
    n = find_runs(x, start, stop, starts, ways, ties)
    bounds = [*starts[:n].tolist(), stop]
    assert bounds[0] == start
    for (first, last), way in zip(itertools.pairwise(bounds), ways.tolist(), strict=False):
        assert ways_of(x[first:last], ties) == {way}
        if last < stop:
            assert way not in ways_of(x[first : last + 1], ties)
    assert find_runs(x, start, stop, starts[: n - 1], ways[: n - 1], ties) == n


@several
@given(parts_of_lines(), st.data())
def test_indices_of_a_falling_run(part, data):
    x, start, stop = part
    x[start:stop] = np.sort(x[start:stop], kind="stable")[::-1] + 0.0
    cuts = data.draw(st.sets(st.integers(start, stop)).map(lambda cuts: [start, *cuts, stop]))
    out = np.full(len(x), -1)
    for first, last in itertools.pairwise(sorted(cuts)):
        turn_run(x, (start, stop), (first, last), out)
    expected = start + np.argsort(x[start:stop], kind="stable")
    np.testing.assert_array_equal(out[start:stop], expected)
    assert (np.delete(out, range(start, stop)) == -1).all()
