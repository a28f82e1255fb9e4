"""Products against exact ones: overflow and underflow of partial products do not matter."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from tests.kernels.strategies import dtypes

DTYPES = dtypes("f8", "f4", ">f8", "g", others=("f2",))
# Overflows give warnings; tests/functions/test_float_warnings.py tests when.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")


def factors(rng, shape, dtype, spread):
    """Return numbers whose exponents are within `spread`."""
    dtype = np.dtype(dtype)
    limits = np.finfo(dtype.type)
    low, high = math.log2(float(max(limits.smallest_subnormal, 1e-320))), min(limits.maxexp, 1024)
    exponents = rng.integers(max(-spread, low), min(spread, high - 1), shape)
    numbers = np.ldexp(rng.uniform(0.5, 1, shape), exponents)
    return (numbers * rng.choice([-1, 1], shape)).astype(dtype)


def exact(number):
    return Fraction(*number.as_integer_ratio())


def exact_product(values, initial=1.0):
    return math.prod(map(exact, values), start=Fraction(initial))


def assert_exact(result, wanted, dtype):
    """Assert that a result is within one unit in the last place, or two if subnormal."""
    limits = np.finfo(np.dtype(dtype).type)
    if abs(wanted) > exact(limits.max):
        assert np.isinf(result) or abs(result) == limits.max
        assert (result > 0) == (wanted > 0)
        return
    n_roundings = 200 if dtype == "g" else 1
    unit = max(n_roundings * exact(limits.eps) * abs(wanted), exact(limits.smallest_subnormal))
    assert np.isfinite(result)
    assert abs(exact(result) - wanted) <= unit


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=10)
@given(
    n=st.integers(1, 200),
    spread=st.sampled_from([1, 20, 300, 1100]),
    seed=st.integers(0, 2**32),
    initial=st.sampled_from([None, 1e-300, -(2.0**900), 3.0]),
)
def test_products_are_within_one_ulp(dtype, n, spread, seed, initial):
    if dtype == "f2" and initial is not None:
        initial = 3.0
    if dtype == "f4" and initial is not None:
        initial = 2.0**-100
    a = factors(np.random.default_rng(seed), (n, 18), dtype, spread)
    line = np.ascontiguousarray(a[:, 0])
    holey = np.insert(line, [0, n // 2], np.nan)
    wanted = [exact_product(column, 1 if initial is None else initial) for column in a.T]
    assert_exact(sharedmem.prod(line, initial=initial), wanted[0], dtype)
    assert_exact(sharedmem.nanprod(holey, initial=initial), wanted[0], dtype)
    for x, axis in ((a, 0), (np.ascontiguousarray(a.T), 1), (np.ascontiguousarray(a[:, :3]), 0)):
        for result, expected in zip(
            np.atleast_1d(sharedmem.prod(x, axis, initial=initial)), wanted, strict=False
        ):
            assert_exact(result, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 8, 129, 300])
def test_products_of_nonfinite_elements_follow_the_rules(dtype, n):
    rng = np.random.default_rng(n)
    cases = [[], [0.0], [-0.0], [np.inf], [-np.inf], [np.nan], [np.inf, 0.0], [np.inf, np.nan]]
    for values in cases:
        a = rng.choice([-1.0, 1.0], (n, 20)).astype(dtype)
        a[rng.integers(n, size=len(values)), :] = np.array(values, dtype)[:, None]
        with np.errstate(all="ignore"):
            for x, axis in ((a, 0), (np.ascontiguousarray(a.T), 1)):
                result, expected = sharedmem.prod(x, axis), np.prod(x, axis)
                np.testing.assert_array_equal(result, expected)
                is_number = ~np.isnan(expected)
                np.testing.assert_array_equal(
                    np.signbit(result)[is_number], np.signbit(expected)[is_number]
                )


def exact_complex_product(values):
    real, imag = Fraction(1), Fraction(0)
    for a, b in zip(map(exact, values.real), map(exact, values.imag), strict=True):
        real, imag = real * a - imag * b, real * b + imag * a
    return real, imag


@pytest.mark.parametrize("dtype", ["c16", "c8", "G"])
@settings(max_examples=10)
@given(n=st.integers(1, 60), spread=st.sampled_from([1, 100, 1000]), seed=st.integers(0, 2**32))
def test_complex_products_overflow_at_the_end_or_not_at_all(dtype, n, spread, seed):
    rng = np.random.default_rng(seed)
    spread = spread // 10 if dtype == "c8" else spread
    exponents = rng.integers(-spread, spread + 1, n)
    exponents[-1] = np.clip(-exponents[:-1].sum(), -spread, spread)
    a = (rng.uniform(0.5, 1, n) + 1j * rng.uniform(-1, 1, n)) * 2.0**exponents
    a = a.astype(dtype)
    wanted = exact_complex_product(a)
    size = max(map(abs, wanted))
    for result in (sharedmem.prod(a), sharedmem.prod(np.stack([a, a]), 1)[1]):
        if 2**-900 < size < 2**1020 and (dtype != "c8" or 2**-100 < size < 2**120):
            for part, expected in zip((result.real, result.imag), wanted, strict=True):
                error = abs(exact(part) - expected)
                assert error <= (4 * n + 2) * Fraction(float(np.finfo(dtype).eps)) * size
        elif dtype != "G" and size > 2**1030:
            assert not np.isfinite(result)


def test_complex_parts_of_very_different_size_are_kept():
    a = np.array([1e-300 + 1e300j, 1.0, -1j])
    assert sharedmem.prod(a) == np.prod(a) == 1e300 - 1e-300j
    assert sharedmem.prod(a[:1]) == a[0]


@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_products_of_chunks_are_those_of_the_whole(dtype, tuned):
    tuned(thread_bytes=64)
    for huge, tiny in ((1e200, 1e-300), (2.0, 0.5)):
        a = np.ones(5000, dtype)
        a[:2000], a[-2000:] = (huge, 1 / huge) if huge == 2 else (1, 1)
        a[0], a[3000], a[3500] = (tiny, huge, huge) if huge > 2 else a[[0, 3000, 3500]]
        expected = 1e100 if huge > 2 else 1.0
        table = np.stack([a, a[::-1]])
        for np_ in (0, 1, 2, 3, 7):
            with sharedmem.MapReduce(np=np_):
                assert sharedmem.prod(a) == pytest.approx(expected, rel=1e-15)
                assert sharedmem.prod(table, 1) == pytest.approx([expected] * 2, rel=1e-15)
                assert sharedmem.prod(table.T.copy(), 0) == pytest.approx([expected] * 2, rel=1e-15)
        a[700] = 0
        assert sharedmem.prod(a) == 0


@pytest.mark.parametrize("dtype", dtypes("f8", "c16", "g", others=("f4", "i8")))
def test_bits_of_a_product_do_not_depend_on_the_workers(dtype, tuned):
    tuned(thread_bytes=64)
    a = np.exp(np.random.default_rng(0).standard_normal(5000) / 100).astype(dtype)
    a[:2] = (1e-300, 1e-11) if dtype in ("f8", "c16", "g") else (3, 5)
    a[3000] = 1e100 if dtype in ("f8", "c16", "g") else 7
    table = np.stack([a, 1 / a if a.dtype.kind != "i" else a])

    def results():
        return [np.asarray(sharedmem.prod(a)), *(sharedmem.prod(table, axis) for axis in (0, 1))]

    with sharedmem.MapReduce(np=5):
        expected = results()
    for n_workers in (0, 1, 2, 3, 7):
        with sharedmem.MapReduce(np=n_workers):
            for one, other in zip(results(), expected, strict=True):
                np.testing.assert_array_equal(one, other)
