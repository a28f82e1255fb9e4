"""Searching equals NumPy's, however arrays are cut."""

import numpy as np
import pytest
from hypothesis import given, settings

import sharedmem
from tests.kernels.strategies import arrays

several = settings(max_examples=15)


@pytest.mark.parametrize("table", [1, 1 << 20])
@pytest.mark.parametrize("side", ["left", "right"])
@several
@given(
    a=arrays(dtypes=("f8", "i2", "c16", "f2")).map(np.ravel), v=arrays(dtypes=("f8", "i2", "i8"))
)
def test_searchsorted(tuned, side, table, a, v):
    sorter = np.argsort(a)
    expected = np.searchsorted(a, v, side, sorter)
    tuned(sorted_search_length=table)
    result = sharedmem.searchsorted(a, v, side, sorter)
    in_order = sharedmem.searchsorted(a[sorter], v, side)
    np.testing.assert_array_equal(result, expected)
    assert np.asarray(result).dtype == np.intp
    np.testing.assert_array_equal(in_order, np.searchsorted(a[sorter], v, side))


@pytest.mark.parametrize("dtype", ["f8", ">f8", "i2", "M8[s]", "f2"])
def test_searches_of_ordered_values(tuned, dtype):
    tuned(sorted_search_length=1)
    a = np.arange(0, 20000, 3).astype("i8").astype(dtype)
    values = np.arange(20000).astype("i8").astype(dtype)
    moved = values.copy()
    moved[::500] = values[7]
    for v in (values, values[::-1], moved, np.concatenate([values[::2], values[::-2]])):
        np.testing.assert_array_equal(sharedmem.searchsorted(a, v), np.searchsorted(a, v))


def test_invalid_searches_raise():
    for arguments in (([1, 2], [1], "middle"), ([[1]], [1]), ([1, 2], [1], "left", [0])):
        with pytest.raises(ValueError):
            sharedmem.searchsorted(*arguments)


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize(
    "bins", [[0.0, 1, 1, 3], [5, 2, 2, -1], [2], [], np.arange(6, dtype="i1"), [np.nan, 1.0]]
)
@pytest.mark.parametrize("dtype", ["f8", "i2", "f2", "?", "c16"])
def test_digitize(bins, right, dtype):
    x = (np.arange(-400, 400).reshape(2, -1) % 7).astype(dtype)
    try:
        expected = np.digitize(x, bins, right)
    except (TypeError, ValueError) as error:
        with pytest.raises(type(error)):
            sharedmem.digitize(x, bins, right)
        return
    np.testing.assert_array_equal(sharedmem.digitize(x, bins, right), expected)
    assert sharedmem.digitize(x[0, 3], bins, right) == expected[0, 3]
