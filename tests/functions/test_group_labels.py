"""Labels of groups: numbers and labels equal those of a loop, whatever the labels are."""

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import sharedmem
from sharedmem.functions.group_labels import group_labels

NAT = np.iinfo(np.int64).min
LABELS = st.one_of(
    hnp.arrays(dtype, st.integers(0, 40), elements=st.sampled_from(elements)).map(view)
    for dtype, elements, view in [
        (np.int64, range(-1, 6), np.asarray),
        (np.int64, [-1, 0, 5, 2**62, 2**62 + 2**40], np.asarray),
        (np.uint64, [0, 3, 2**63, 2**64 - 1], np.asarray),
        (np.int8, [-1, 3, 9, 127], np.asarray),
        (bool, [False, True], np.asarray),
        (">i4", range(3, 9), np.asarray),
        (np.float64, [0.0, -0.0, 1.5, -np.inf, np.nan], np.asarray),
        (np.float16, [-2.0, 0.5, np.nan], np.asarray),
        ("U5", ["", "a", "\u1234", "ab\u1234", "abcde", "abcdf", "bbcde"], np.asarray),
        ("S11", [b"", b"a", b"12345678", b"12345678901", b"12345670901"], np.asarray),
        (np.int64, [NAT, 0, 3, 10000], lambda days: days.view("M8[D]")),
        (np.int64, [NAT, -1, 3], lambda seconds: seconds.view("m8[s]")),
        (object, ["a", "b", None, np.nan], np.asarray),
    ]
)


@pytest.fixture(autouse=True)
def small_pieces(tuned):
    tuned(sort_piece_bytes=64, chunk_bytes=64, thread_bytes=16)


def is_missing(label):
    return label is None or label != label or (label == -1 and np.dtype(type(label)).kind == "i")


def numbered(labels, groups):
    """Return the place of each label among groups, or -1."""
    places = {label: place for place, label in enumerate(groups.tolist())}
    return [places.get(label, -1) for label in labels.tolist()]


@given(LABELS, st.booleans(), st.sampled_from([1, 2, 3]))
def test_found_labels(by, sort, n_workers):
    with sharedmem.MapReduce(np=n_workers):
        codes, (labels,), shape = group_labels((by,), None, False, sort)
    expected = list(dict.fromkeys(x for x in by.tolist() if not is_missing(x)))
    if by.dtype.kind == "i":
        expected = [x for x in expected if x != -1]
    assert labels.tolist() == (sorted(expected) if sort else expected)
    assert labels.dtype == by.dtype.newbyteorder("=")
    assert codes.dtype == np.intp
    assert codes.tolist() == numbered(by, labels)
    assert shape == (len(labels),)


@given(LABELS, st.data())
def test_expected_labels(by, data):
    some = np.unique(by[[not is_missing(x) for x in by.tolist()]])
    wanted = data.draw(st.permutations(some.tolist()))[1:]
    if not wanted:
        return
    wanted = np.array(wanted, by.dtype)
    codes, (labels,), shape = group_labels((by,), wanted, False, True)
    assert labels.tolist() == wanted.tolist()
    assert codes.tolist() == numbered(by, wanted)
    assert shape == (len(wanted),)


@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("dtype", ["i8", "u2", "f4", bool])
def test_expected_integers(dtype, n):
    by = np.array([3, 0, 5, 1, 0]).astype(dtype)
    codes, (labels,), _ = group_labels((by,), n, False, True)
    assert labels.tolist() == list(range(n))
    assert codes.tolist() == [int(x) if x < n else -1 for x in by]


def test_expected_labels_may_be_negative_and_others_are_missing():
    codes, _, _ = group_labels(([-1, -7, -3, 2],), [-3, -1], False, True)
    assert codes.tolist() == [1, -1, 0, -1]


@given(
    hnp.arrays(np.float64, st.integers(0, 30), elements=st.integers(-2, 9) | st.just(np.nan)),
    st.lists(st.integers(-1, 8), min_size=2, unique=True).map(sorted),
)
def test_bins_include_their_right_edges(by, edges):
    codes, (labels,), shape = group_labels((by,), edges, True, True)
    bins = list(itertools.pairwise(edges))
    assert labels.tolist() == [list(each) for each in bins]
    assert shape == (len(bins),)
    expected = [[k for k, (left, right) in enumerate(bins) if left < x <= right] for x in by]
    assert codes.tolist() == [each[0] if each else -1 for each in expected]


def test_bins_of_times_and_of_integers():
    days = np.array(["2000-01-01", "2000-01-31", "2000-02-01", "NaT", "2000-03-09"], "M8[ns]")
    edges = np.array(["2000-01-01", "2000-02-01", "2000-03-01"], "M8[D]")
    assert group_labels((days,), edges, True, True).codes.tolist() == [-1, 0, 0, -1, -1]
    assert group_labels(([-1, 0, 1],), [-2, -1, 0], True, True).codes.tolist() == [0, 1, -1]


def test_bins_end_with_the_largest_numbers():
    largest = np.iinfo(np.int64).max
    assert group_labels(([3, largest],), [0, 3, largest], True, True).codes.tolist() == [0, 1]
    x = [-np.inf, 0.0, np.inf, np.nan]
    assert group_labels((x,), [-np.inf, 0, np.inf], True, True).codes.tolist() == [-1, 0, 1, -1]


@pytest.mark.parametrize("dtype", [bool, "f2", ">f4", "u1", "u8", ">i4"])
def test_bins_of_all_numbers(dtype):
    by = np.array([0, 1, 3, 4, 9]).astype(dtype)
    edges = [0, 1.5, 4]
    expected = [-1 if not 0 < x <= 4 else int(x > 1.5) for x in by]
    assert group_labels((by,), edges, True, True).codes.tolist() == expected


def test_texts_of_times():
    days = np.array(["2000-01-01", "2000-01-31", "2000-02-02"], "M8[D]")
    codes, (labels,), _ = group_labels((days,), ["2000-01-01", "2000-02-01T12"], True, True)
    assert codes.tolist() == [-1, 0, -1]
    assert labels.astype(str).tolist() == [["2000-01-01T00", "2000-02-01T12"]]
    assert group_labels((days,), ["2000-01-31"], False, True).codes.tolist() == [-1, 0, -1]


class Intervals:
    def __init__(self, left, right, closed):
        self.left, self.right, self.closed = left, right, closed


@pytest.mark.parametrize("closed", ["left", "right", "both", "neither"])
def test_intervals(closed):
    x = np.arange(8) / 2
    codes, (labels,), _ = group_labels((x,), Intervals([0, 2], [1, 3], closed), False, True)
    ends = {"left": (1, 0), "right": (0, 1), "both": (1, 1), "neither": (0, 0)}[closed]

    def is_in(x, left, right):
        return left < x < right or (x == left and ends[0]) or (x == right and ends[1])

    assert codes.tolist() == [0 if is_in(v, 0, 1) else 1 if is_in(v, 2, 3) else -1 for v in x]
    assert labels.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("dtype", [int, float])
def test_intervals_without_elements(dtype):
    for left, right in ([3], [3]), ([2], [3]):
        bins = Intervals(np.array(left, dtype), np.array(right, dtype), "neither")
        codes = group_labels((np.array([2, 3, 4]),), bins, False, True).codes
        assert codes.tolist() == [-1] * 3


class Categories:
    def __init__(self, codes, categories):
        self.codes, self.categories = np.array(codes, np.int8), categories
        self.shape = self.codes.shape

    def __array__(self, dtype=None, copy=None):
        return np.array([None if code < 0 else self.categories[code] for code in self.codes])


@pytest.mark.parametrize("sort", [True, False])
def test_categories(sort):
    by = Categories([2, -1, 0, 2], ["low", "mid", "high"])
    codes, (labels,), _ = group_labels((by,), None, False, sort)
    assert labels.tolist() == (["low", "high"] if sort else ["high", "low"])
    assert codes.tolist() == ([1, -1, 0, 1] if sort else [0, -1, 1, 0])
    codes, (labels,), _ = group_labels((by,), ["high", "mid", "new"], False, sort)
    assert labels.tolist() == ["high", "mid", "new"]
    assert codes.tolist() == [0, -1, -1, 0]


def test_categories_in_bins():
    by = Categories([2, 0, 1], [0.0, 1.0, 2.0])
    assert group_labels((by,), [0, 1, 2], True, True).codes.tolist() == [1, -1, 0]


def test_several_labels_are_broadcast():
    months, regions = np.array([[1], [2], [1]]), np.array(["sea", "land", "", "sea"])
    codes, labels, shape = group_labels((months, regions), (None, ["land", "sea"]), False, True)
    assert [each.tolist() for each in labels] == [[1, 2], ["land", "sea"]]
    assert shape == (2, 2)
    assert codes.tolist() == [[1, 0, -1, 1], [3, 2, -1, 3], [1, 0, -1, 1]]


def test_labels_that_are_codes_are_not_copied():
    by = np.array([[0, 2, 1], [1, -1, 0]])
    for expected in (None, 3, 5):
        assert np.shares_memory(group_labels((by,), expected, False, True).codes, by)
    assert group_labels((by,), 2, False, True).codes.tolist() == [[0, -1, 1], [1, -1, 0]]


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize("n_labels", [50, 9000])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_large_labels(n_labels, n_workers, sort):
    by = np.random.default_rng(0).permutation(np.arange(18000) % n_labels * 10**9)
    with sharedmem.MapReduce(np=n_workers):
        codes, (labels,), _ = group_labels((by,), None, False, sort)
    in_order = list(dict.fromkeys(by.tolist()))
    np.testing.assert_array_equal(labels, sorted(in_order) if sort else in_order)
    np.testing.assert_array_equal(labels[codes], by)


def test_views_and_lists():
    by = np.arange(12).reshape(3, 4)[::-1, ::2] % 3
    np.testing.assert_array_equal(group_labels((by,), None, False, True).codes, by)
    assert group_labels((["b", "a"],), None, False, True).codes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("by", "expected", "is_bin", "error", "match"),
    [
        ((3,), None, False, TypeError, "by must be arrays"),
        (([0, -5],), None, False, ValueError, "negative label -5"),
        (([1j],), None, False, TypeError, "complex128"),
        ((np.array([{}, None]),), None, False, TypeError, "hash"),
        ((np.array(["a", 3], object),), None, False, TypeError, "sort=False"),
        (([0, 1],), ([0], [1]), False, ValueError, "2 values, but by has 1"),
        (([0, 1], [0, 1]), [0, 1], False, TypeError, "a tuple, with a value for each of 2"),
        (([0, 1], [0, 1, 2]), None, False, ValueError, r"\(2,\), \(3,\)"),
        (([0, 1],), [3, 4, 3], False, ValueError, "label .*3.* 2 times"),
        (([0, 1],), [], False, ValueError, r"\(0,\)"),
        (([0, 1],), 0, False, ValueError, "at least 1"),
        (([0, 1],), 2.5, False, TypeError, "2.5"),
        (([0, 1],), ["a"], False, TypeError, "cannot be compared with labels of dtype int64"),
        (([0, 1],), None, True, TypeError, "edges"),
        (([0, 1],), 3, True, ValueError, "edges"),
        ((["a"],), ["a", "b"], True, TypeError, "<U1 cannot be put into bins"),
        ((["a"],), [0, 1], True, TypeError, "int64 cannot be compared with labels of dtype <U1"),
        (([0, 1],), [0, 2, 1], True, ValueError, "ascending order, got 2 before 1"),
        (([0, 1],), [0, np.nan], True, ValueError, "ascending order"),
        (([0, 1],) * 3, (10**6,) * 3, False, MemoryError, "1000000 x 1000000 x 1000000"),
    ],
)
def test_errors(by, expected, is_bin, error, match):
    with pytest.raises(error, match=match):
        group_labels(by, expected, is_bin, True)
