"""Sums, means and variances against exact ones."""

import numpy as np
import pytest

from sharedmem.kernels import moments, sums
from sharedmem.reducing import reduce
from sharedmem.runs import run_serially
from tests.kernels.oracles import exact_sum, exact_variance, ulps


def total(a, **options):
    return reduce(run_serially, sums.add(a.dtype, a.dtype), a, **options)


@pytest.mark.parametrize("n", [3, 100, 1_000, 100_000])
def test_sums_are_within_one_ulp(n):
    rng = np.random.default_rng(n)
    for a in (
        rng.random(n),
        rng.exponential(size=n),
        rng.lognormal(0, 9, n),
        1e300 * rng.random(n),
    ):
        assert ulps(total(a), exact_sum(a)) <= 1


def test_column_sums_are_within_one_ulp():
    a = np.random.default_rng(0).random((5000, 30))
    assert (
        max(ulps(s, exact_sum(column)) for s, column in zip(total(a, axis=0), a.T, strict=True))
        <= 1
    )


def test_float32_is_summed_more_exactly_than_numpy_does():
    a = np.full(1_000_000, 0.1, np.float32)
    reference = np.float32(exact_sum(a))
    assert total(a) == reference
    assert total(a.reshape(-1, 2), axis=0)[0] == reference / 2


def test_an_error_does_not_grow_with_the_number_of_elements():
    a = np.full(3_000_000, 0.1)
    assert total(a) == exact_sum(a)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_variance_far_from_zero(offset):
    rng = np.random.default_rng(1)
    for n in (3, 50, 3000):
        a = rng.normal(offset, 1, n)
        result = reduce(run_serially, moments.variance("f8", "f8"), a)
        assert result == pytest.approx(exact_variance(a), rel=1e-12)


def test_denormals_are_kept():
    a = np.full(1000, 5e-324)
    assert total(a) == 1000 * 5e-324
