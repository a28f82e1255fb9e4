"""Unique elements equal NumPy's, however arrays are cut."""

import numpy as np
import pytest

import sharedmem
from tests.functions.lines import DTYPES, hard_line


@pytest.fixture(autouse=True)
def small_pieces(tuned):
    tuned(sort_bytes=1, sort_run_bytes=64, sort_piece_bytes=128, sort_line_bytes=256)


@pytest.mark.parametrize("equal_nan", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_unique(dtype, equal_nan):
    a = hard_line(dtype)
    options = {"return_index": True, "return_inverse": True, "return_counts": True}
    for values in (a.reshape(7, -1).T, np.sort(a), np.sort(a)[:900], np.sort(a)[::-1]):
        results = sharedmem.unique(values, **options, equal_nan=equal_nan)
        expected = np.unique(values, **options, equal_nan=equal_nan)
        for result, other in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, other)
            assert result.dtype == other.dtype
        alone = sharedmem.unique(values, equal_nan=equal_nan)
        np.testing.assert_array_equal(alone, results[0])
        assert not np.may_share_memory(alone, values)


def test_unique_of_rows_and_of_empty_arrays():
    a = np.array([[1, 2], [3, 4], [1, 2]])
    np.testing.assert_array_equal(sharedmem.unique(a, axis=0), np.unique(a, axis=0))
    assert sharedmem.unique(np.empty(0)).shape == (0,)
