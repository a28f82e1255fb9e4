"""Sums, means, moments, and dot products of difficult data against exact results."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem.engine.reduce import reduce
from sharedmem.engine.runners import run_serially
from sharedmem.kernels import sums, variances
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


def test_sums_of_float32_are_rounded_once():
    a = np.full(1_000_000, 0.1, np.float32)
    reference = np.float32(exact_sum(a))
    assert total(a) == reference
    assert total(a.reshape(-1, 2), axis=0)[0] == reference / 2


def test_errors_do_not_grow_with_the_number_of_elements():
    a = np.full(3_000_000, 0.1)
    assert total(a) == exact_sum(a)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_variance_far_from_zero(offset):
    rng = np.random.default_rng(1)
    for n in (3, 50, 3000):
        a = rng.normal(offset, 1, n)
        result = reduce(run_serially, variances.variance("f8", "f8"), a)
        assert result == pytest.approx(exact_variance(a), rel=1e-12)


def test_denormals_are_kept():
    a = np.full(1000, 5e-324)
    assert total(a) == 1000 * 5e-324


N_HARD = 20_001
RNG = np.random.default_rng(2)
HUGE = RNG.normal(size=N_HARD) * 1e100
HARD = {
    "a large pair": np.concatenate([[1e100], RNG.random(N_HARD), [-1e100]]),
    "pairs in disorder": RNG.permutation(np.concatenate([HUGE, -HUGE, RNG.random(N_HARD)])),
    "an alternating series": (-1.0) ** np.arange(N_HARD) / np.arange(1, N_HARD + 1),
    "denormals": RNG.integers(-1000, 1000, N_HARD) * 5e-324,
    "float32": RNG.normal(size=N_HARD).astype(np.float32),
    "many sizes": RNG.normal(size=N_HARD) * 10.0 ** RNG.integers(-100, 100, N_HARD),
}
# Eight float32 are added in pairs, in float64, without compensation. The rounding errors of other
# sums are added, with a relative error of the rounding unit.
N_ROUNDINGS = {"f4": 3, "f8": Fraction(N_HARD, 2**53)}


@pytest.mark.parametrize("name", HARD)
def test_errors_stay_below_the_bound_of_pairwise_sums(name):
    a = HARD[name]
    exact = sum(map(Fraction, a.tolist()))
    sizes = sum(abs(Fraction(x)) for x in a.tolist())
    unit, least = Fraction(float(np.finfo(a.dtype).eps)) / 2, Fraction(5e-324)
    bound = unit * abs(exact) + N_ROUNDINGS[a.dtype.str[1:]] * Fraction(2) ** -53 * sizes + least
    with_nan = np.append(a, np.nan).astype(a.dtype)
    for total in (sharedmem.sum(a), sharedmem.nansum(with_nan), sharedmem.cumsum(a)[-1]):
        assert abs(Fraction(float(total)) - exact) <= bound
    for mean in (sharedmem.mean(a), sharedmem.nanmean(with_nan)):
        assert abs(Fraction(float(mean)) - exact / len(a)) <= 2 * bound / len(a) + least


# One, and addends that round it up or vanish: the largest errors of a few plain additions.
CRAFTED = [0.0, 1.0, 2.0**-53 * (1 + 2.0**-10), 2.0**-53, 2.0**-52 - 2.0**-105, 0.1]


@settings(max_examples=60)
@given(
    n=st.integers(1, 300),
    period=st.integers(1, 64),
    repeats=st.sampled_from([1, 3, 64]),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([5e-324, 2.0**-1000, 1.0, 2.0**1000]),
)
def test_sums_of_positive_numbers_are_within_one_ulp(n, period, repeats, seed, scale):
    rng = np.random.default_rng(seed)
    a = np.resize(np.repeat(rng.choice(CRAFTED, period), repeats), n) * scale
    a[0] = scale
    exact = exact_sum(a)
    columns = np.repeat(a[:, None], 5, 1)
    for total in (
        sharedmem.sum(a), sharedmem.nansum(a), sharedmem.cumsum(a)[-1], sharedmem.norm(a, 1),
        *sharedmem.sum(columns, 0), *sharedmem.nansum(columns, 0),
        *sharedmem.sum(np.ascontiguousarray(columns.T), 1), *sharedmem.cumsum(columns, 0)[-1],
    ):  # fmt: skip
        assert abs(Fraction(float(total)) - sum(map(Fraction, a.tolist()))) < math.ulp(exact)
    mean = sharedmem.mean(a)
    assert abs(Fraction(mean) * n - Fraction(exact)) <= n * math.ulp(mean) + math.ulp(exact)


def test_long_sums_of_tiny_addends_are_within_one_ulp():
    t = CRAFTED[2]
    a = np.tile(np.repeat([1, t, t, 0, t, 0, 0, 0], 4096), 15)
    assert ulps(sharedmem.sum(a), exact_sum(a)) <= 1
    b = np.zeros((16, 64))
    b[0], b[[1, 2, 4, 8, 12]] = 1, t
    b = np.tile(b.ravel(), 1024)
    for n in (1023 * 1024, 1024 * 1024):
        assert ulps(sharedmem.cumsum(b)[n - 1], exact_sum(b[:n])) <= 1


def test_products_that_cancel_are_summed_exactly():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 4001)) * 10.0 ** rng.integers(-50, 50, (2, 4001))
    x, y = np.concatenate([x, x, [3.0]]), np.concatenate([y, -y, [7.0]])
    exact = sum(Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), y.tolist(), strict=True))
    sizes = sum(abs(Fraction(a) * Fraction(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True))
    bound = Fraction(2) ** -53 * abs(exact) + Fraction(2) ** -106 * len(x) * 16 * sizes
    for product in (sharedmem.dot(x, y), sharedmem.vdot(x, y)):
        assert abs(Fraction(float(product)) - exact) <= bound


@pytest.mark.parametrize("offset", [0, 1000])
def test_moments_are_those_of_rational_numbers(offset):
    a = np.random.default_rng(4).exponential(size=3001) + offset
    numbers = [Fraction(x) for x in a.tolist()]
    mean = sum(numbers) / len(numbers)
    second, third, fourth = (sum((x - mean) ** k for x in numbers) / len(a) for k in (2, 3, 4))
    found = sharedmem.moments(a)
    assert ulps(found.mean, float(mean)) <= 1
    assert found.var == pytest.approx(float(second), rel=1e-12)
    assert found.skew == pytest.approx(float(third) / float(second) ** 1.5, rel=1e-10)
    assert found.kurtosis == pytest.approx(float(fourth / second**2 - 3), rel=1e-10)
    assert ulps(sharedmem.norm(a), math.sqrt(float(sum(x * x for x in numbers)))) <= 1


def test_a_norm_is_within_one_ulp_of_large_and_small_numbers():
    for scale in (1e-320, 1e-200, 1.0, 1e200):
        a = np.random.default_rng(5).random(1001) * scale
        assert sharedmem.norm(a) == pytest.approx(math.hypot(*a), rel=4e-16)


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_nonfinite_elements_give_numpys_results(special):
    a = np.ones(100_000)
    a[777] = special
    for name in ("sum", "mean", "cumsum", "norm"):
        expected = {"norm": np.linalg.norm}.get(name) or getattr(np, name)
        np.testing.assert_array_equal(getattr(sharedmem, name)(a), expected(a))
    a[888] = -special
    with np.errstate(invalid="ignore"):
        assert np.isnan(sharedmem.sum(a))


def test_the_payload_of_a_nan_does_not_matter():
    odd = np.array([0x7FF0000000000001, 0xFFF8000000000ABC], np.uint64).view("f8")
    a = np.concatenate([np.ones(1000), odd, np.ones(1000)])
    assert np.isnan(sharedmem.sum(a))
    assert sharedmem.nansum(a) == 2000
    assert sharedmem.nanmean(a) == 1
