"""The k largest or smallest elements are those of a stable sort."""

import numpy as np
import pytest

import sharedmem
from tests.functions.comparing import results_of_workers, same_bits
from tests.functions.lines import hard_line
from tests.kernels.strategies import dtypes


@pytest.fixture(autouse=True)
def small_pieces(tuned):
    tuned(sort_bytes=1, sort_run_bytes=64, sort_piece_bytes=128, sort_line_bytes=256)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(
    "dtype", dtypes("f8", "?", "f2", "c16", ">f8", "M8[s]", others=("f4", "i8", "u1"))
)
@pytest.mark.parametrize("k", [0, 1, 5, 400, 1001])
@pytest.mark.parametrize("by_workers", [True, False])
def test_topk_of_long_lines(dtype, k, largest, by_workers, tuned):
    tuned(topk_bytes=0 if by_workers else 1 << 20, topk_length=2000 if by_workers else 100)
    a = hard_line(dtype)
    order = np.argsort(a, kind="stable")
    if largest:
        order = len(a) - 1 - np.argsort(a[::-1], kind="stable")[::-1]
    results = results_of_workers(lambda: sharedmem.topk(a, k, largest=largest)[1])
    np.testing.assert_array_equal(results[0], order[:k])
    assert same_bits(results)
    values, indices = sharedmem.topk(np.stack([a, a[::-1]], 1), k, axis=0, largest=largest)
    assert values.shape == indices.shape == (k, 2)
    np.testing.assert_array_equal(values[:, 0], a[order[:k]])
    np.testing.assert_array_equal(values[:, 1], a[order[:k]])


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("value", [2.0, np.nan])
def test_topk_of_equal_elements(value, largest):
    a = np.full(1000, value)
    a[500:510] = [0, 3, 3, 0, np.nan, 3, 0, 0, np.nan, 1]
    for k in (3, 9, 300):
        _, indices = sharedmem.topk(a, k, largest=largest)
        order = np.argsort(a, kind="stable")
        if largest:
            order = len(a) - 1 - np.argsort(a[::-1], kind="stable")[::-1]
        np.testing.assert_array_equal(indices, order[:k])


def test_topk_of_short_lines():
    a = np.random.default_rng(0).integers(0, 9, (20, 5, 6))
    for axis in (0, 1, -1):
        values, indices = sharedmem.topk(a, 3, axis)
        np.testing.assert_array_equal(values, -np.sort(-a, axis).take(range(3), axis))
        np.testing.assert_array_equal(np.take_along_axis(a, indices, axis), values)


def test_topk_of_invalid_arguments_raises():
    with pytest.raises(ValueError, match="k must be from 0 to the length 3"):
        sharedmem.topk([1, 2, 3], 4)
    with pytest.raises(np.exceptions.AxisError):
        sharedmem.topk([1, 2, 3], 1, axis=2)
