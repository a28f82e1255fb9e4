"""Cumulative functions equal NumPy's, and sums equal those of math.fsum, however arrays are cut."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from tests.functions.comparing import with_workers
from tests.kernels.strategies import DTYPES, arrays

several = settings(max_examples=15)


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(
        scan_chunk_bytes=1 << 10,
        chunk_bytes=1 << 10,
        scan_line_bytes=4 << 10,
        thread_bytes=64,
    )
    with np.errstate(all="ignore"):
        yield


def check(found, expected, *, exactly=True):
    assert type(found) is np.ndarray
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if exactly:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def exact_prefixes(a):
    """Return the cumulative sums, each rounded once."""
    numbers, sums, parts = a.tolist(), [], []
    for number in numbers:
        parts.append(number)
        sums.append(math.fsum(parts))
    return np.array(sums)


@several
@given(st.data())
def test_any_axis_of_any_array(data):
    a = data.draw(arrays(DTYPES, min_side=0))
    axis = data.draw(st.none() | st.integers(-a.ndim, a.ndim - 1) if a.ndim else st.none())
    with sharedmem.MapReduce(np=2):
        check(sharedmem.cumsum(a, axis), np.cumsum(a, axis), exactly=a.dtype.char != "e")
        check(sharedmem.nancumsum(a, axis), np.nancumsum(a, axis), exactly=a.dtype.char != "e")
        check(sharedmem.cumprod(a[:2], axis), np.cumprod(a[:2], axis)) if a.ndim else None
        if a.ndim and a.dtype.kind != "c":
            found = sharedmem.accumulate(np.maximum, a, axis or 0)
            check(found, np.maximum.accumulate(a, axis or 0))


SHAPES = [(2003,), (3, 1000), (40, 70), (1000, 3), (5, 60, 7), (300, 2, 4), (4, 2003)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["f8", "i8", "c16"])
def test_arrays_of_many_chunks(shape, dtype):
    rng = np.random.default_rng(0)
    a = rng.integers(-50, 50, shape).astype(dtype)
    for axis in range(a.ndim):
        for layout in (a, np.asfortranarray(a), a[::-1], a[..., ::2]):
            check(with_workers(lambda: sharedmem.cumsum(layout, axis)), np.cumsum(layout, axis))
            out = layout.copy(order="K")
            assert sharedmem.cumsum(out, axis, out=out) is out
            np.testing.assert_array_equal(out, np.cumsum(layout, axis))
    check(sharedmem.cumsum(a), np.cumsum(a))


@pytest.mark.parametrize("ufunc", [np.maximum, np.minimum, np.multiply, np.logaddexp])
def test_accumulate_of_other_ufuncs(ufunc):
    a = np.random.default_rng(1).normal(1, 0.1, (3, 1001))
    a[1, 500] = np.nan
    for axis in (0, 1):
        found = with_workers(lambda: sharedmem.accumulate(ufunc, a, axis))
        check(found, ufunc.accumulate(a, axis))
    check(with_workers(lambda: sharedmem.accumulate(ufunc, a[0])), ufunc.accumulate(a[0]))


def test_integers_wrap_around():
    a = np.random.default_rng(2).integers(-(2**63), 2**63 - 1, 3001)
    check(with_workers(lambda: sharedmem.cumsum(a)), np.cumsum(a))
    check(with_workers(lambda: sharedmem.cumprod(a | 1)), np.cumprod(a | 1))
    check(sharedmem.cumsum(a, dtype="i1"), np.cumsum(a, dtype="i1"))


def ill_conditioned(n):
    rng = np.random.default_rng(3)
    a = rng.normal(size=n) * 10.0 ** rng.integers(-8, 9, n)
    a[n // 2 :] = -a[: n - n // 2][::-1]
    return a + 1e-7 * rng.normal(size=n)


def test_each_sum_is_within_one_ulp():
    rng = np.random.default_rng(4)
    for a in (rng.random(2001), rng.exponential(size=2001) ** 8, np.full(2001, 0.1)):
        exact = exact_prefixes(a)
        found = with_workers(lambda: sharedmem.cumsum(a))
        assert np.all(np.abs(found - exact) <= np.spacing(exact))
        wide = sharedmem.cumsum(np.tile(a[:, None], 70), axis=0)
        assert np.all(np.abs(wide - exact[:, None]) <= np.spacing(exact)[:, None])
        rows = sharedmem.cumsum(np.tile(a[:100], (30, 1)), axis=1)
        assert np.all(np.abs(rows - exact[:100]) <= np.spacing(exact[:100]))


def test_sums_that_cancel_are_accurate():
    a = ill_conditioned(2001)
    error = np.abs(sharedmem.cumsum(a) - exact_prefixes(a))
    sizes = np.cumsum(np.abs(a))
    eps = np.finfo(float).eps
    assert np.all(error <= eps * np.abs(exact_prefixes(a)) + eps**2 * 1e4 * sizes + eps * 1e-3)


@pytest.mark.parametrize("n", [7, 3001])
@pytest.mark.parametrize(
    "values",
    [
        [np.inf],
        [-np.inf, 1, np.inf],
        [np.nan],
        [1.7e308, 1.7e308, -1.7e308, -1.7e308],
        [1.7e308, -1.7e308],
        [-1.7e308, -1.7e308, np.inf],
    ],
    ids=str,
)
def test_nonfinite_sums_equal_numpys(n, values):
    a = np.zeros(n)
    for start in (0, n // 2, n - len(values)):
        a[:] = -0.0
        a[start : start + len(values)] = values
        expected = np.cumsum(a)
        check(with_workers(lambda: sharedmem.cumsum(a)), expected)
        out = a.copy()
        sharedmem.cumsum(out, out=out)
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(np.signbit(out), np.signbit(expected))


@pytest.mark.parametrize("n", [1, 3, 63, 65, 1000, 1003, 40_000])
def test_sums_of_negative_zeros_are_negative(n):
    for shape in ((n,), (n, 1), (3, n), (n, 3)):
        a = np.full(shape, -0.0)
        for axis in range(a.ndim):
            assert np.signbit(sharedmem.cumsum(a, axis)).all()


def test_nan_is_ignored():
    a = np.random.default_rng(5).integers(1, 9, (50, 60)).astype(float)
    a[::3, ::2] = np.nan
    for axis in (None, 0, 1):
        for ours, numpys in [
            (sharedmem.nancumsum, np.nancumsum),
            (sharedmem.nancumprod, np.nancumprod),
        ]:
            check(with_workers(lambda: ours(a, axis)), numpys(a, axis), exactly=False)
    for dtype in ("f4", "f8"):
        out = np.empty(a.shape, dtype)
        assert sharedmem.nancumsum(a, 1, out=out) is out
        np.testing.assert_array_equal(out, np.nancumsum(a, 1))
    assert np.isnan(a[0, 0])
    before = out.copy()
    with pytest.raises(np.exceptions.AxisError):
        sharedmem.nancumsum(a, 2, out=out)
    np.testing.assert_array_equal(out, before)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        sharedmem.nancumsum(a, 1, out=out)
    expected = np.nancumsum(a, 1)
    assert sharedmem.nancumsum(a, 1, out=a) is a
    np.testing.assert_array_equal(a, expected)


def test_out_of_any_layout_and_byte_order():
    a = np.random.default_rng(6).integers(-9, 9, (30, 50))
    for out in (np.empty((30, 100))[:, ::2], np.empty((50, 30)).T, np.empty(a.shape, ">i8")):
        assert sharedmem.cumsum(a / 2, 1, out=out) is out
        np.testing.assert_array_equal(out, np.cumsum(a / 2, 1, out=np.empty(a.shape, out.dtype)))
    line = np.arange(2000.0)
    expected = np.cumsum(line[:-1])
    np.testing.assert_array_equal(sharedmem.cumsum(line[:-1], out=line[1:]), expected)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_diff(n, axis):
    a = np.random.default_rng(7).integers(0, 200, (40, 50))
    for b in (a, a.astype("u1"), a > 100, a.astype("M8[s]"), a.T, a.astype("c8")):
        check(with_workers(lambda: sharedmem.diff(b, n, axis)), np.diff(b, n, axis))
    ends = {"prepend": 0, "append": a[:40, :1] if axis else a[:1]}
    check(sharedmem.diff(a, n, axis, **ends), np.diff(a, n, axis, **ends))


def raised(call):
    with pytest.raises(Exception) as caught:
        call()
    return caught.type


BAD = [
    lambda m, acc: m.cumsum(np.ones((2, 2000)), axis=2),
    lambda m, acc: m.cumsum(np.ones(2000), out=np.empty(3)),
    lambda m, acc: m.cumsum(np.ones(2000), out=np.empty(2000, "S3")),
    lambda m, acc: m.cumsum(np.ones(2000), out=[1]),
    lambda m, acc: m.cumsum(np.array(["a"] * 900)),
    lambda m, acc: m.cumsum(np.ones(2000, "M8[s]")),
    lambda m, acc: m.cumsum(np.array(1.0), axis=1),
    lambda m, acc: acc(np.add, 1.0),
    lambda m, acc: acc(np.sqrt, np.ones(2000)),
    lambda m, acc: m.diff(np.ones(2000), -1),
    lambda m, acc: m.diff(np.ones(2000), axis=1),
    lambda m, acc: m.diff(1.0),
]


@pytest.mark.parametrize("call", BAD)
def test_invalid_input_raises_as_in_numpy(call):
    ours = raised(lambda: call(sharedmem, sharedmem.accumulate))
    assert issubclass(ours, raised(lambda: call(np, lambda ufunc, a: ufunc.accumulate(a))))


def test_invalid_ufunc_and_read_only_out_raise():
    with pytest.raises(TypeError, match="needs a ufunc"):
        sharedmem.accumulate(sum, [1, 2])
    frozen = np.zeros(2000)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        sharedmem.cumsum(np.ones(2000), out=frozen)


@pytest.mark.parametrize("a", [np.empty((0, 3)), np.empty(0, "i2"), 5, True, [[]]], ids=str)
def test_empty_and_scalar_input(a):
    check(sharedmem.cumsum(a), np.cumsum(a))
    check(sharedmem.cumprod(a, axis=0), np.cumprod(a, axis=0))


@pytest.mark.parametrize("n", [6, 60_000])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "nancumsum", "nancumprod"])
def test_dtype_with_byte_order_or_unit(name, n):
    a = np.ones(n, "i4")
    for dtype in (">f8", ">i4", "m8[s]"):
        for x in (a, a.astype("f4"), a.astype("m8[s]")):
            if name.endswith("prod") and (dtype[0] == "m" or x.dtype.kind == "m"):
                with pytest.raises(TypeError):
                    getattr(sharedmem, name)(x, dtype=dtype)
                continue
            result, expected = (getattr(module, name)(x, dtype=dtype) for module in (sharedmem, np))
            assert result.dtype == expected.dtype
            np.testing.assert_array_equal(result, expected)
