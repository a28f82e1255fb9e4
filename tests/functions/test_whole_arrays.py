"""Ufuncs and expressions on arrays of one shape: NumPy's bits, in any order of calls."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem

SHAPES = [(1,), (7,), (300,), (20, 15)]
NUMBERS = [0, 0.0, -0.0, 1, 1.0, True, 2, np.nan, np.float32(0.1), np.float64(-0.0), np.int8(3)]
CALLS = {
    "a + b": np.add,
    "a * b": np.multiply,
    "a / b": np.divide,
    "a >= b": np.greater_equal,
    "minimum(a, b)": np.minimum,
}
LAYOUTS = {
    "same": lambda a: a,
    "shared": sharedmem.copy,
    "view": lambda a: np.concatenate([a, a])[: len(a)],
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "fortran": np.asfortranarray,
    "misaligned": lambda a: np.frombuffer(b"?" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "row": lambda a: np.broadcast_to(a[..., :1], a.shape),
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}
arrays = st.tuples(
    st.sampled_from(["f8", "f4", "i4", "u1", "?", "c16", "f2"]), st.sampled_from([*LAYOUTS])
)
calls = st.tuples(
    st.sampled_from([*CALLS]), arrays, st.one_of(arrays, st.sampled_from(NUMBERS)), st.booleans()
)


@pytest.fixture(params=[1, 1 << 16])
def sizes(request, tuned):
    """Let kernels compute all arrays, or NumPy the small ones."""
    tuned(
        compiled_ufunc_bytes=request.param,
        expression_piece_length=request.param,
        streamed_bytes=1024,
        expression_claim_length=64,
        thread_bytes=512,
    )


def made(rng, shape, dtype, layout):
    a = rng.integers(-9, 9, shape) if np.dtype(dtype).kind in "iu" else 4 * rng.normal(size=shape)
    with np.errstate(all="ignore"):
        return LAYOUTS[layout](a.astype(dtype))


def check(result, expected):
    assert isinstance(result, sharedmem.SharedArray)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result.view(np.ndarray), expected)
    np.testing.assert_array_equal(np.signbit(result.real), np.signbit(expected.real))


@settings(max_examples=30)
@given(
    program=st.lists(calls, min_size=1, max_size=8),
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_call_gives_numpys_result_whatever_was_called_before(sizes, program, shape, seed):
    rng = np.random.default_rng(seed)
    for text, first, second, is_swapped in program:
        a = made(rng, shape, *first)
        b = made(rng, shape, *second) if isinstance(second, tuple) else second
        a, b = (b, a) if is_swapped else (a, b)
        ufunc = CALLS[text]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = ufunc(a, b)
            except (OverflowError, TypeError) as error:
                with pytest.raises(type(error)):
                    sharedmem.apply_ufunc(ufunc, a, b)
                continue
            check(sharedmem.apply_ufunc(ufunc, a, b), expected)
            check(sharedmem.evaluate(text, a=a, b=b), expected)
            out = sharedmem.empty(expected.shape, expected.dtype)
            assert sharedmem.apply_ufunc(ufunc, a, b, out=out) is out
            check(out, expected)


@settings(max_examples=30)
@given(
    start=st.integers(0, 8),
    step=st.sampled_from([1, 2, -1]),
    dtypes=st.sampled_from([("f8", "f8"), ("f4", "f8"), ("i8", "f8"), ("f8", "f4")]),
    size=st.sampled_from([10, 300]),
)
def test_an_output_may_overlap_an_input(sizes, start, step, dtypes, size):
    def views():
        memory = sharedmem.copy(np.random.default_rng(1).integers(1, 200, 8 * 700).astype("u1"))
        a = memory.view(dtypes[0])[: size * abs(step) : step][:size]
        return a, memory.view(dtypes[1])[start:][:size]

    for call in (
        lambda a, out: sharedmem.apply_ufunc(np.add, a, 1, out=out, casting="unsafe"),
        lambda a, out: sharedmem.apply_ufunc(np.add, a, 1, out=out),
        lambda a, out: sharedmem.evaluate("a + 1", a=a, out=out),
    ):
        a, out = views()
        if a.shape != out.shape:
            continue
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = np.add(a.copy(), 1).astype(out.dtype)
            call(a, out)
        np.testing.assert_array_equal(out, expected)


def test_an_output_that_does_not_fit_is_refused_each_time(sizes):
    a = np.arange(300.0)
    read_only = sharedmem.empty(300)
    read_only.flags.writeable = False
    for _ in range(3):
        for call in (
            lambda out: sharedmem.apply_ufunc(np.sqrt, a, out=out),
            lambda out: sharedmem.evaluate("sqrt(a)", a=a, out=out),
        ):
            call(sharedmem.empty(300))
            with pytest.raises(ValueError, match="read-only"):
                call(read_only)
            with pytest.raises(ValueError, match="shape"):
                call(sharedmem.empty(299))
            with pytest.raises(TypeError, match="cast"):
                call(sharedmem.empty(300, "i4"))


def test_warnings_come_each_time(sizes):
    a = np.full(300, -1.0)
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match="invalid value encountered in sqrt") as told:
            sharedmem.apply_ufunc(np.sqrt, a)
        assert told[0].filename == __file__
        with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
            sharedmem.apply_ufunc(np.sqrt, a)
