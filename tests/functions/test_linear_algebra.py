"""Dot products and norms equal NumPy's, or are more accurate."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from tests.functions.comparing import assert_like, with_workers
from tests.kernels.oracles import exact_dot, ulps
from tests.kernels.strategies import DTYPES, arrays, arrays_and_axes, dtypes

several = settings(max_examples=15)
INEXACT = dtypes("f8", "i2", "c16", "f2", "g", ">f8", others=("f4", "c8"))


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=256)


@several
@given(a=arrays(dtypes=DTYPES, min_side=0), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 9))
def test_dot_and_vdot(a, dtype, seed):
    b = np.random.default_rng(seed).integers(0, 9, a.shape).astype(dtype)
    if a.dtype.char in "gG" and dtype.startswith("c"):
        b = b.real
    assert_like(sharedmem.vdot(a, b), np.vdot(a, b))
    a, b = a.ravel()[::-2], b.ravel()[::-2]
    assert_like(sharedmem.dot(a, b), np.dot(a, b))
    assert type(sharedmem.dot(a, b)) is type(np.dot(a, b))


@pytest.mark.parametrize("n", [1, 10, 1000, 30_000])
def test_dot_products_are_within_one_ulp(n, tuned):
    tuned(chunk_bytes=1 << 12)
    rng = np.random.default_rng(n)
    for a, b in (
        (rng.random(n), rng.random(n)),
        (rng.lognormal(0, 9, n), rng.lognormal(0, 9, n)),
        (rng.normal(size=n), rng.normal(size=n)),
    ):
        assert ulps(sharedmem.dot(a, b), exact_dot(a, b)) <= 1
        assert sharedmem.vdot(a.astype("f4"), b.astype("f4")) == np.float32(
            exact_dot(a.astype("f4"), b.astype("f4"))
        )
        a, b = a + 1j * b, b - 2j * a
        assert ulps(sharedmem.dot(a, b).real, exact_dot(*real_products(a, b))) <= 1
        assert ulps(sharedmem.vdot(a, b).imag, exact_dot(*crossed_products(a, b))) <= 1


def real_products(a, b):
    return np.append(a.real, a.imag), np.append(b.real, -b.imag)


def crossed_products(a, b):
    return np.append(a.real, -a.imag), np.append(b.imag, b.real)


def test_dot_products_that_cancel_are_accurate():
    a = np.array([1e100, 1.0, -1e100, 1e-3, 3.0])
    assert sharedmem.dot(a, np.ones(5)) == pytest.approx(math.fsum(a), rel=1e-15)
    n = 5000
    a, b = np.random.default_rng(0).normal(size=(2, n))
    a = np.concatenate([a, 1e7 * a, -a])
    b = np.concatenate([b, b, 1e7 * b])
    assert sharedmem.dot(a, b) == pytest.approx(exact_dot(a, b), rel=1e-9)


@pytest.mark.parametrize("dtype", ["f8", "c16", "i2", "g", "f2"])
def test_bits_do_not_depend_on_the_number_of_workers(dtype, tuned):
    tuned(thread_bytes=64)
    a, b = np.random.default_rng(0).normal(0, 9, (2, 60, 70)).astype(dtype)
    with_workers(
        lambda: [
            sharedmem.vdot(a, b),
            sharedmem.norm(a, 3, axis=0),
            sharedmem.norm(a),
            sharedmem.average(a, axis=1, weights=abs(b) + 1),
        ]
    )


@pytest.mark.filterwarnings("ignore:(invalid value|overflow)")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_nonfinite_results_equal_numpys(value, dtype):
    a = np.ones(300, dtype)
    a[[3, 200]] = value
    for b in (np.ones(300, dtype), np.full(300, -10, dtype)):
        np.testing.assert_array_equal(sharedmem.vdot(a, b), np.vdot(a, b))
    np.testing.assert_array_equal(sharedmem.norm(a[:3]), np.linalg.norm(a[:3]))
    if value != 1e308:
        np.testing.assert_array_equal(sharedmem.norm(a), np.linalg.norm(a))


def test_dot_of_matrices_scalars_and_times():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 4)), rng.random((4, 5))
    np.testing.assert_array_equal(sharedmem.dot(a, b), a @ b)
    np.testing.assert_array_equal(sharedmem.dot(a[0], b), a[0] @ b)
    assert sharedmem.dot(2, 3) == 6
    times = np.arange(3).astype("m8[s]")
    assert sharedmem.dot(times, [1, 2, 3]) == np.timedelta64(8, "s")


def test_dot_with_out():
    out = np.zeros(())
    assert sharedmem.dot([1.0, 2.0], [3.0, 4.0], out) is out
    assert out == 11
    with pytest.raises(ValueError, match="output array is not acceptable"):
        sharedmem.dot([1.0], [2.0], np.zeros((), np.float32))


@pytest.mark.parametrize("function", ["dot", "vdot"])
def test_vectors_of_different_length_raise(function):
    with pytest.raises(ValueError, match=r"not aligned|cannot reshape"):
        getattr(sharedmem, function)(np.ones(3), np.ones(4))


ORDERS = [None, 0, 1, 2, 3, 0.5, -1, np.inf, -np.inf]


@several
@given(case=arrays_and_axes(dtypes=INEXACT), order=st.sampled_from(ORDERS), keepdims=st.booleans())
@pytest.mark.filterwarnings("ignore:(divide by zero|overflow)")
def test_norms_of_vectors(case, order, keepdims):
    a, _ = case
    for axis in (*range(-a.ndim, a.ndim), *([None] if a.ndim == 1 else [])):
        result = sharedmem.norm(a, order, axis, keepdims)
        assert_like(result, wide_norm(a, order, axis, keepdims), 1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_norms_of_many_elements(order, tuned):
    tuned(chunk_bytes=1 << 12)
    a = np.random.default_rng(0).normal(size=(1100, 70))
    for axis in (0, 1):
        assert_like(sharedmem.norm(a, order, axis), wide_norm(a, order, axis), 1e-12)
    assert_like(sharedmem.norm(a.ravel(), order), wide_norm(a.ravel(), order), 1e-12)


@several
@given(case=arrays_and_axes(dtypes=INEXACT), keepdims=st.booleans())
def test_default_norms(case, keepdims):
    a, _ = case
    assert_like(sharedmem.norm(a, keepdims=keepdims), wide_norm(a, keepdims=keepdims))


def wide_norm(a, *args, **options):
    """Return NumPy's norm, computed in long double, where squares of float16 do not overflow."""
    expected = np.linalg.norm(a.astype("G" if a.dtype.kind == "c" else "g"), *args, **options)
    return expected.astype(np.linalg.norm(np.zeros(0, a.dtype)).dtype)


@pytest.mark.parametrize("order", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_norms_of_matrices(order):
    a = np.random.default_rng(0).normal(size=(4, 5, 6))
    assert_like(sharedmem.norm(a[0], order), np.linalg.norm(a[0], order))
    for axis in ((0, 2), (-1, 1)):
        expected = np.linalg.norm(a, order, axis, keepdims=True)
        assert_like(sharedmem.norm(a, order, axis, keepdims=True), expected)


def test_norms_neither_overflow_nor_underflow():
    a = np.array([[3e200, 4e200], [3e-200, 4e-200], [3, 4], [0, 0], [np.inf, 1e200], [5e-324, 0]])
    expected = [5e200, 5e-200, 5, 0, np.inf, 5e-324]
    np.testing.assert_allclose(sharedmem.norm(a, axis=1), expected, rtol=1e-15)
    assert sharedmem.norm(a[0] * 1j) == pytest.approx(5e200, rel=1e-15)
    assert sharedmem.norm(np.full(10_000, 300, np.float16)) == np.float16(30_000)
    assert sharedmem.norm(np.full(3, 28, np.float16), 3) == np.float16(28 * 3 ** (1 / 3))
    assert np.isnan(sharedmem.norm([1e300, np.nan]))


@pytest.mark.parametrize(
    ("x", "order", "axis", "error"),
    [
        (np.ones((2, 2, 2)), 2, None, ValueError),
        (np.ones(3), "fro", None, ValueError),
        (np.ones((3, 3)), "abc", None, ValueError),
        (np.ones((3, 3)), None, (0, 0), ValueError),
        (np.ones((3, 3)), None, 2, np.exceptions.AxisError),
        (np.ones((3, 3)), None, "x", TypeError),
        (np.array(["a"]), None, None, ValueError),
        (np.ones(0), -np.inf, None, ValueError),
    ],
)
def test_invalid_norms_raise(x, order, axis, error):
    for norm in (np.linalg.norm, sharedmem.norm):
        with pytest.raises(error):
            norm(x, order, axis)


def test_norms_of_empty_arrays():
    assert sharedmem.norm([]) == 0
    assert sharedmem.norm(np.ones((0, 3)), 1, axis=0).tolist() == [0, 0, 0]


def test_dot_products_of_float16_do_not_overflow(tuned):
    tuned(chunk_bytes=1 << 16)
    h = np.full(4_400_000, 0.3, "f2")
    k = h.copy()
    k[2_200_000:] = -0.3
    assert abs(sharedmem.dot(h, k)) < 1
    assert abs(sharedmem.vdot(h, k)) < 1
    x, y = np.random.default_rng(0).standard_normal((2, 4_400_000)).astype("f2")
    assert sharedmem.dot(x, y) == np.float16(np.dot(x.astype(float), y.astype(float)))


def test_averages_of_float16_do_not_overflow(tuned):
    tuned(chunk_bytes=1 << 12)
    for axis in (None, 0, 1):
        a = np.full((300, 300), 3, "f2")
        average, total = sharedmem.average(a, axis, weights=np.full_like(a, 0.5), returned=True)
        assert average.dtype == total.dtype == "f2"
        np.testing.assert_array_equal(average, 3)
        np.testing.assert_array_equal(sharedmem.average(a, axis, np.full_like(a, 2)), 3)
