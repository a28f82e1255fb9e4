"""Groups equal those of pandas, whose labels, categories, and intervals are labels here."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem

pandas = pytest.importorskip("pandas")

A = np.random.default_rng(2).integers(0, 9, 60).astype(float)
PICKS = st.lists(st.integers(0, 4), min_size=len(A), max_size=len(A)).map(np.array)
CHOICES = {
    "integers": [3, 0, 2, 10**12, 5],
    "strings": ["b", "a", None, "", "longer than a word"],
    "nullable": pandas.array([1, None, 0, 2, 7], dtype="Int64"),
    "floats": [0.5, np.nan, -2.0, np.inf, 0.0],
    "bools": [True, False, True, False, True],
    "times": np.array(["2000-01-01", "NaT", "1999-12-31T05", "2000-01-02", "2000-03-01"], "M8[ns]"),
    "zoned": pandas.to_datetime(["2000", None, "1999", "2001", "2002"]).tz_localize("Europe/Oslo"),
    "categories": pandas.Categorical(["low", "mid", None, "high", "low"], ["low", "mid", "high"]),
}
NAMES = ["sum", "prod", "mean", "var", "std", "min", "max", "first", "last", "median", "count"]


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize("kind", CHOICES)
def test_labels(kind, sort):
    picks = np.random.default_rng(1).integers(0, 5, len(A))
    by = pandas.Series(CHOICES[kind])[picks].reset_index(drop=True)
    expected = pandas.Series(A).groupby(by, sort=sort, observed=True).sum()
    for labels in (by, pandas.Index(by)):
        found, groups = sharedmem.group_reduce(A, labels, func="sum", sort=sort)
        assert pandas.Index(groups).tolist() == expected.index.tolist()
        np.testing.assert_array_equal(found, expected.to_numpy())


@settings(max_examples=20)
@given(PICKS, st.sampled_from(NAMES), st.sampled_from([1, 2]))
def test_functions(picks, name, n_workers):
    options = {"ddof": 1} if name in ("var", "std") else None
    with sharedmem.MapReduce(np=n_workers):
        found, _ = sharedmem.group_reduce(A, picks, func=name, finalize_kwargs=options)
    expected = getattr(pandas.Series(A).groupby(picks), name)().to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@settings(max_examples=20)
@given(
    st.lists(st.integers(-2, 11), min_size=2, unique=True).map(sorted),
    st.sampled_from(["left", "right", "both", "neither"]),
)
def test_intervals(edges, closed):
    left, right = edges[:-1], edges[1:]
    if closed == "both":  # where neighbors overlap, an element is in both
        left, right = left[::2], right[::2]
    bins = pandas.IntervalIndex.from_arrays(left, right, closed)
    found, groups = sharedmem.group_reduce(A, A, func="count", expected_groups=bins)
    counts = pandas.Series(A).groupby(pandas.cut(A, bins), observed=False).count()
    assert found.tolist() == counts.tolist()
    assert groups.tolist() == list(map(list, zip(left, right, strict=True)))
    if closed == "right":
        by_edges, _ = sharedmem.group_reduce(A, A, func="count", expected_groups=edges, isbin=True)
        assert by_edges.tolist() == counts.tolist()


@settings(max_examples=20)
@given(PICKS, PICKS)
def test_several_labels(first, second):
    found, *labels = sharedmem.group_reduce(A, first, second, func="max")
    expected = pandas.Series(A).groupby([first, second]).max().unstack()
    np.testing.assert_array_equal(found, expected.to_numpy())
    assert labels[0].tolist() == expected.index.tolist()
    assert labels[1].tolist() == expected.columns.tolist()
