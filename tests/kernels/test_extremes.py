"""Variances and moments of very large and very small numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

import sharedmem

LARGEST = Fraction(float(np.finfo(np.float64).max))
# Overflows give warnings; tests/functions/test_float_warnings.py tests when.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")


def exact_moments(values):
    numbers = [Fraction(value) for value in values.tolist()]
    mean = sum(numbers) / len(numbers)
    return mean, *(sum((x - mean) ** k for x in numbers) / len(numbers) for k in (2, 3, 4))


def is_near(result, exact, n):
    """Return whether a result is exact within a few roundings, near zero of the smallest number."""
    if exact > LARGEST or np.isinf(result):
        return result == np.inf and exact > LARGEST
    return abs(Fraction(float(result)) - exact) <= exact / 2**40 + n * Fraction(1, 2**1060)


def cases(a):
    """Return a line alone, and lines in rows and in columns, with the axis to reduce."""
    lines = np.stack([a, a[::-1], a])
    return [(a, None), (lines, 1), (np.ascontiguousarray(lines.T), 0)]


@pytest.mark.parametrize("name", ["var", "nanvar", "moments"])
@settings(max_examples=20)
@given(
    n=st.integers(1, 300),
    power=st.integers(-1060, 1023),
    offset=st.sampled_from([0, 0, 1, -3]),
    seed=st.integers(0, 2**32),
)
@example(n=2, power=513, offset=0, seed=0)
@example(n=4, power=1023, offset=0, seed=0)
@example(n=14, power=1023, offset=0, seed=44)
def test_variances_are_exact_or_infinite(name, n, power, offset, seed):
    with np.errstate(all="ignore"):
        a = np.ldexp(np.random.default_rng(seed).uniform(-1, 1, n) + offset, power)
    a = a[np.isfinite(a)]
    if not len(a):
        return
    _, exact, *_ = exact_moments(a)
    # Sums overflow, and sums of squares, as NumPy's do.
    has_total = sum(map(abs, map(Fraction, a.tolist()))) < LARGEST and exact * n < LARGEST
    for x, axis in cases(a):
        if name == "nanvar":
            x = np.insert(x, [0, x.shape[axis or 0] // 2], np.nan, axis=axis or 0)
        found = getattr(sharedmem, name)(x, axis)
        for result in np.atleast_1d(found.var if name == "moments" else found):
            assert is_near(result, exact, n) or (result == np.inf and not has_total)


@settings(max_examples=20)
@given(n=st.integers(8, 300), power=st.integers(-1060, 1000), seed=st.integers(0, 2**32))
def test_moments_do_not_depend_on_the_scale(n, power, seed):
    a = np.ldexp(np.random.default_rng(seed).exponential(1, n), power)
    mean, second, third, fourth = exact_moments(a)
    unit = Fraction(math.ulp(float(mean)))
    scale = Fraction(2) ** power
    for x, axis in cases(a):
        found = sharedmem.moments(x, axis)
        for line in np.array(found).reshape(4, -1).T:
            if mean * n < LARGEST:
                assert abs(Fraction(line[0]) - mean) <= 4 * unit
            assert is_near(line[1], second, n)
            skew = float(third / scale**3) / float(second / scale**2) ** 1.5
            assert line[2] == pytest.approx(skew, rel=1e-9)
            assert line[3] == pytest.approx(float(fourth / second**2 - 3), rel=1e-9)


@pytest.mark.parametrize("value", [1e304, 1e-308, 5e-324, -1.7e308, 0.0])
def test_constant_arrays_have_no_variance(value):
    a = np.full(10, value)
    variances = {float(sharedmem.var(a)), float(sharedmem.moments(a).var)}
    assert variances <= ({0.0, np.inf} if abs(value) > 1e308 else {0.0})  # no sum of them is finite
    assert np.isnan(sharedmem.moments(a).skew)


def test_each_line_of_a_table_has_its_scale():
    a = np.random.default_rng(0).exponential(1, (9, 500))
    scales = 2.0 ** np.array([-1040, -800, -600, -300, 0, 300, 600, 800, 1000])
    expected = sharedmem.moments(a, 1)
    found = sharedmem.moments(a * scales[:, None], 1)
    np.testing.assert_allclose(found.skew, expected.skew, 1e-6)
    np.testing.assert_allclose(found.kurtosis, expected.kurtosis, 1e-6)
    np.testing.assert_allclose(found.mean, expected.mean * scales, 1e-6)


@pytest.mark.parametrize("special", [[np.nan], [np.inf], [-np.inf, np.inf], [np.inf, 1e308]])
@pytest.mark.parametrize("n", [3, 20, 300, 3000])
def test_variances_of_nonfinite_elements_are_nan(special, n):
    rng = np.random.default_rng(n)
    for _ in range(5):
        a = rng.normal(size=n) * rng.choice([1.0, 1e200, 1e-200])
        a[rng.integers(n, size=len(special))] = special
        if np.isfinite(a).all():
            continue
        for x, axis in cases(a):
            assert np.isnan(sharedmem.var(x, axis)).all()
            assert np.isnan(sharedmem.moments(x, axis).var).all()
