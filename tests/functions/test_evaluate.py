"""Expressions equal NumPy's for any dtype and layout; functions up to rounding."""

import concurrent.futures
import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem.expressions import expression as expressions
from tests.kernels.strategies import arrays, dtypes

several = settings(max_examples=3)


@pytest.fixture(autouse=True)
def small_pieces(tuned):
    tuned(
        expression_piece_length=16,
        expression_claim_length=64,
        streamed_bytes=256,
        chunk_bytes=1 << 10,
        thread_bytes=1,
    )


# The names of the language of expressions, for Python's `eval`.
MEANING = {name: getattr(np, name) for name in dir(np) if not name.startswith("_")}
MEANING |= {"abs": np.abs, "conj": np.conj, "clip": lambda x, a, b: np.minimum(np.maximum(x, a), b)}


def by_numpy(expression, arrays):
    with np.errstate(all="ignore"):
        return eval(expression, MEANING | arrays)


ROUNDED = re.compile(r"exp|log|sin|cos|tan|hypot|power|\*\* (b|3)")


def assert_same(expression, result, expected, arrays):
    """Compare bits; of functions, compare values, which libmvec may round differently."""
    if ROUNDED.search(expression) and expected.dtype.kind == "f":
        # NumPy computes functions of small integers in small floats.
        kinds = (np.result_type(np.float16, x) for x in arrays.values())
        eps = max(np.finfo(kind).eps for kind in (*kinds, expected.dtype) if kind.kind == "f")
        np.testing.assert_allclose(result, expected, rtol=16 * eps, atol=16 * eps)
    else:
        np.testing.assert_array_equal(result, expected)


def check(expression, **arrays):
    """Compare the result, or the error, with NumPy's."""
    try:
        expected = by_numpy(expression, arrays)
    except (TypeError, ValueError, OverflowError) as error:
        with pytest.raises(type(error)):
            sharedmem.evaluate(expression, **arrays)
        return
    result = sharedmem.evaluate(expression, **arrays)
    assert np.asarray(result).dtype == np.asarray(expected).dtype
    assert isinstance(result, np.ndarray) is isinstance(expected, np.ndarray)
    assert_same(expression, result, expected, arrays)


KERNEL_DTYPES = dtypes("?", "i8", "f8", others=("u8", "f4"))
OTHER_DTYPES = ("f2", "g", "G", ">f8", ">i2", "m8[s]", "M8[D]")


def numbers(dtype, seed=0):
    """Return small and large numbers, zeros, infinities, and NaN of a dtype."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "mM":
        return rng.integers(-50, 50, 100).astype(dtype)
    if dtype.kind in "biu":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        a = rng.integers(max(low, -9), min(high, 9), 100, endpoint=True).astype(dtype)
        a[:2] = low, high
        return a
    a = rng.normal(size=100).astype(dtype)
    a[:5] = 0.0, -0.0, np.nan, np.inf, -np.inf
    if dtype.kind == "c":
        a.imag = rng.permutation(a.real)
    return a


BINARY = ["a + b", "a - b", "a * b", "a / b", "a // b", "a % b", "a ** b", "a & b", "a | b"]
BINARY += ["a ^ b", "a << b", "a >> b", "a < b", "a <= b", "a > b", "a >= b", "a == b", "a != b"]
BINARY += ["minimum(a, b)", "arctan2(a, b)", "hypot(a, b)", "fmod(a, b)", "power(a, b)"]
BINARY += ["where(a, a, b)"]
UNARY = [
    "-a",
    "+a",
    "~a",
    "a ** 2",
    "a ** 2.0",
    "a ** 3",
    "a ** 0.5",
    "a ** -1",
    "a ** -1.0",
    "2 * a + 1",
    "a * 0.5",
    "a",
]
UNARY += [
    "a * 1j",
    "a > 0",
    "clip(a, 1, 3)",
    "a << 1",
    "a % 3",
    "a // -2",
    "a < 300",
    "where(a, 1, a)",
]
UNARY += [f"{name}(a)" for name in ("abs", "conj", "real", "imag", "sqrt", "sign", "exp", "isnan")]


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_binary_operations(dtype):
    for expression in BINARY:
        check(expression, a=numbers(dtype), b=numbers(dtype, 1))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_unary_operations_and_scalars(dtype):
    for expression in UNARY:
        check(expression, a=numbers(dtype))


@pytest.mark.parametrize("dtype", OTHER_DTYPES)
def test_dtypes_without_kernels(dtype):
    for expression in ("a + b", "a - b", "a < b", "where(a < b, a, b)"):
        check(expression, a=numbers(dtype), b=numbers(dtype, 1))
    for expression in ("-a", "a * 2", "a ** 2", "isnan(a)"):
        check(expression, a=numbers(dtype))


@pytest.mark.parametrize("first", ["?", "i1", "u8", "f4", "f2"])
def test_mixed_types(first):
    for second in ("u1", "i8", "f8", "c8"):
        for expression in ("a + b", "where(b < a, a, b)", "a / 2 + sqrt(b)"):
            check(expression, a=numbers(first), b=numbers(second, 1))


@pytest.mark.parametrize(
    "expression",
    [
        "exp(-a*a) + b*0.5",
        "a*b - 4.1*a > 2.5*b",
        "sin(cos(a) * exp(b)) + cos(a) * b - log(abs(a)) % 3",
        "where((a > 0) & ~isnan(b), arctan2(a, b), tanh(a)) // b",
        "-1 < a < b <= 1",
        "clip(a, -0.5, b)",
        "2 ** 3 * a + (7 // 2) * pi - e",
        "a + inf == b * nan",
        "(a + b) * (a + b)",
        "1",
        "sqrt(2) * a",
        "True * a",
    ],
)
def test_long_expressions(expression):
    arrays = {name: numbers("f8", seed) for seed, name in enumerate("ab") if name in expression}
    written = expression.replace("-1 < a < b <= 1", "(-1 < a) & (a < b) & (b <= 1)")
    with np.errstate(all="ignore"):
        expected = by_numpy(written, arrays)
    result = sharedmem.evaluate(expression, **arrays)
    assert_same(expression, result, np.asarray(expected), arrays)
    assert np.asarray(result).dtype == np.asarray(expected).dtype


LAYOUTS = ("a * 2 - b", "exp(a) + b")


@several
@given(a=arrays(dtypes=("f8", "i2", "?")), b=arrays(dtypes=("f4", ">f8")), seed=st.integers(0, 9))
def test_any_layout(a, b, seed):
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        b = np.full(a.shape, b.flat[0]).T.copy().T
    for expression in LAYOUTS:
        check(expression, a=a, b=b)


@pytest.mark.parametrize(
    "shapes", [((50, 1), (7,)), ((3, 1, 40), (5, 1)), ((0, 3), (3,)), ((), (30,))]
)
def test_broadcasting(shapes):
    a, b = (np.arange(np.prod(shape, dtype=int) * 1.0).reshape(shape) for shape in shapes)
    check("a - b / 2", a=a, b=b)


def test_shapes_that_do_not_broadcast_raise():
    with pytest.raises(ValueError, match="broadcast"):
        sharedmem.evaluate("a + b", a=np.ones(3), b=np.ones(4))
    with pytest.raises(ValueError, match="broadcast"):
        sharedmem.evaluate("a + 1", a=np.ones(3), out=np.ones((2, 2)))


@pytest.mark.parametrize(
    "value",
    [2, 2.5, 1j, True, np.float32(2.5), np.float64(2.5), np.int8(3), np.array(2.5), -1, 300],
)
def test_python_numbers_have_weak_types(value):
    for dtype in ("f4", "i2", "u1"):
        for expression in ("a + k * k", "k < a", "where(a > 1, a, k)"):
            check(expression, a=numbers(dtype), k=value)
    check("k * k + 1", k=value)


def test_a_python_number_out_of_bounds_raises_as_in_numpy():
    a = numbers("u1")
    with pytest.raises(OverflowError, match="300"):
        sharedmem.evaluate("a + 300", a=a)
    assert sharedmem.evaluate("a < 300", a=a).all()


def test_results_are_shared_and_out_is_returned():
    a = numbers("f8")
    assert sharedmem.is_shared(sharedmem.evaluate("a + 1", a=a))
    out = np.empty(100)
    assert sharedmem.evaluate("a + 1", a=a, out=out) is out
    np.testing.assert_array_equal(out, a + 1)


@pytest.mark.parametrize(
    ("wanted", "given"), [("f4", "f8"), ("f8", "f4"), (">f8", "f8"), ("c8", "f8")]
)
def test_out_of_another_dtype(wanted, given):
    a = np.linspace(0, 1, 100).astype(given)
    out = np.empty(200, wanted)[::2]
    sharedmem.evaluate("exp(a)", a=a, out=out)
    np.testing.assert_allclose(out, np.exp(a), rtol=1e-6)


def test_out_of_an_unsafe_dtype_raises():
    out = np.ones(100, "i4")
    with pytest.raises(TypeError, match=r"'a / 2' is of dtype float64.*int32"):
        sharedmem.evaluate("a / 2", a=np.ones(100), out=out)
    assert (out == 1).all()


@pytest.mark.parametrize("expression", ["a + 1", "exp(a) + a", "sin(a)", "a ** 3"])
@pytest.mark.parametrize("dtype", ["f8", "i4"])
def test_in_place_and_overlapping(expression, dtype):
    for take in (np.s_[:], np.s_[:-1], np.s_[::-1], np.s_[:-7]):
        a = np.linspace(0, 3, 1000).astype(dtype)
        expected = sharedmem.evaluate(expression, a=a[take].copy())
        whole = np.zeros(1000, expected.dtype)
        whole[:] = a
        if whole.dtype == a.dtype:
            source, out = whole[take], whole[-len(a[take]) :]
            sharedmem.evaluate(expression, a=source, out=out)
            np.testing.assert_array_equal(out, expected)
        else:
            np.testing.assert_array_equal(sharedmem.evaluate(expression, a=a[take]), expected)


@pytest.mark.parametrize("np_", [0, 1, 2, 3, 7])
def test_bits_do_not_depend_on_the_pool(np_):
    a = np.random.default_rng(0).normal(size=(40, 50))
    expected = sharedmem.evaluate("exp(-a*a) + b*0.5", a=a, b=a)
    np.testing.assert_allclose(expected, np.exp(-a * a) + a * 0.5, rtol=1e-14, atol=1e-15)
    for pool in (sharedmem.MapReduce(np=np_), sharedmem.MapReduceByThread(np=np_)):
        with pool:
            result = sharedmem.evaluate("exp(-a*a) + b*0.5", a=a, b=a.T.copy().T)
        np.testing.assert_array_equal(result, expected)


def test_numpy_computes_small_arrays(monkeypatch, tuned):
    tuned(expression_piece_length=1 << 16)
    monkeypatch.setattr(expressions, "fuse", None)
    check("exp(-a*a) + 1", a=numbers("f8"))


def test_concurrent_calls():
    a = np.arange(5000.0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(
            pool.map(lambda k: sharedmem.evaluate("exp(a / 5e3) * k", a=a, k=k), range(40))
        )
    for k, result in enumerate(results):
        np.testing.assert_allclose(result, np.exp(a / 5e3) * k, rtol=1e-14)


def test_floating_point_errors_do_not_warn():
    a = np.array([0, 1, -1, 127], "i1")
    assert sharedmem.evaluate("a // 0", a=a).tolist() == [0, 0, 0, 0]
    assert sharedmem.evaluate("1 / a", a=a)[0] == np.inf
    assert np.isnan(sharedmem.evaluate("sqrt(-a)", a=np.ones(100))).all()
    assert np.isnan(sharedmem.evaluate("sqrt(k)", k=np.float64(-1)))


def test_errors_of_numpy_are_raised():
    with pytest.raises(ValueError, match="negative integer powers"):
        sharedmem.evaluate("a ** b", a=np.ones(100, int), b=np.full(100, -1))
    with pytest.raises(TypeError, match="boolean subtract"):
        sharedmem.evaluate("a - a", a=np.ones(100, bool))
    with pytest.raises(TypeError, match="ufunc"):
        sharedmem.evaluate("a << 1", a=np.ones(100))


def test_missing_and_unused_arrays_raise():
    with pytest.raises(ValueError, match="no array is given for b, c; given: a"):
        sharedmem.evaluate("a + b * c", a=np.ones(3))
    with pytest.raises(TypeError, match="b cannot be found"):
        sharedmem.evaluate("a + 1", a=np.ones(3), b=1)
    assert sharedmem.evaluate("e + a", a=np.ones(3), e=2).tolist() == [3, 3, 3]
