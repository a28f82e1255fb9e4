"""The numbers that `sharedmem stats` computes."""

import numpy as np
import pytest

from tests.cli.helpers import assert_describes, assert_histogram, describe
from tests.kernels.strategies import dtypes


def test_npy(field, capsys):
    np.save("field.npy", field)
    (found,) = describe(capsys, "field.npy")
    assert found["name"] == "field.npy"
    assert_describes(found, field)
    assert_histogram(found, field, 20)
    assert found["passes"] == 2


def test_large_npy_for_any_number_of_workers(capsys):
    values = np.random.default_rng(2).normal(3, 2, 2_000_000)  # several chunks
    values[1234567] = np.nan
    np.save("large.npy", values)
    for workers in "013":
        (found,) = describe(capsys, "large.npy", "--workers", workers, "--range", "-1", "5")
        assert_describes(found, values)
        assert_histogram(found, values, 20, (-1, 5))
        assert found["passes"] == 1


@pytest.mark.parametrize("dtype", dtypes("?", others=("f2", "f4", ">i4", "u8")))
def test_dtypes(dtype, capsys):
    values = np.random.default_rng(3).integers(0, 100, 500).astype(dtype)
    np.save("numbers.npy", values)
    (found,) = describe(capsys, "numbers.npy")
    assert_describes(found, values)
    assert_histogram(found, values, 20)


def test_large_integers_are_exact(capsys):
    values = np.array([2**62 + 1, 3], "i8")
    np.save("integers.npy", values)
    (found,) = describe(capsys, "integers.npy")
    assert (found["min"], found["max"]) == (3, 2**62 + 1)


def test_ends_of_the_range_may_be_negative_and_in_scientific_notation(capsys):
    values = np.linspace(-3, 3, 100)
    np.save("numbers.npy", values)
    (found,) = describe(capsys, "numbers.npy", "--range", "-2e-1", "-.1")
    assert_histogram(found, values, 20, (-0.2, -0.1))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axis(field, axis, capsys):
    np.save("field.npy", field)
    (found,) = describe(capsys, "field.npy", "--axis", str(axis))
    finite = np.where(np.isfinite(field), field, np.nan)
    np.testing.assert_allclose(found["mean"], np.nanmean(finite, axis))
    np.testing.assert_allclose(found["std"], np.nanstd(finite, axis))
    np.testing.assert_array_equal(found["max"], np.nanmax(finite, axis))
    assert found["n_nan"] == np.isnan(field).sum(axis).tolist()
    assert found["histogram"] is None


def test_nothing_finite_is_null(capsys):
    np.save("nan.npy", np.full(3, np.nan))
    np.save("empty.npy", np.empty((0, 3)))
    empty = describe(capsys, "empty.npy", "--range", "0", "1")
    for found in [*describe(capsys, "nan.npy", "empty.npy"), *empty]:
        assert (found["min"], found["mean"], found["histogram"]) == (None, None, None)


def test_scalar(capsys):
    np.save("scalar.npy", np.float64(3))
    (found,) = describe(capsys, "scalar.npy")
    assert (found["shape"], found["count"], found["mean"], found["std"]) == ([], 1, 3, 0)
