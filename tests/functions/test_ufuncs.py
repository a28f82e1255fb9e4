"""NumPy's ufuncs on whole arrays: equal bits, dtypes, warnings, and errors."""

import warnings

import numpy as np
import pytest

import sharedmem
from sharedmem.expressions import fusion
from sharedmem.expressions.fusion import NAMES
from sharedmem.expressions.kernel import Kernel
from sharedmem.machine import float_flags
from tests.kernels.strategies import dtypes

UFUNCS = sorted(NAMES, key=lambda ufunc: ufunc.__name__)
DTYPES = dtypes("f8", "i4", others=("f4", "u1", "?", "c16"))


@pytest.fixture(autouse=True)
def small_sizes(tuned):
    tuned(
        compiled_ufunc_bytes=1,
        streamed_bytes=256,
        expression_claim_length=64,
        thread_bytes=64,
    )


@pytest.fixture
def computed(monkeypatch):
    """Return a list that grows by whether a kernel computed, for each whole array."""
    done = []
    compute = Kernel.compute_whole

    def compute_and_note(*arguments):
        result = compute(*arguments)
        done.append(result is not None)
        return result

    monkeypatch.setattr(Kernel, "compute_whole", compute_and_note)
    return done


def numbers(dtype, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(scale=3, size=300)
    a[:6] = 0.0, -0.0, np.nan, np.inf, -np.inf, 1e300
    with np.errstate(all="ignore"):
        a = np.nan_to_num(a).astype(dtype) if np.dtype(dtype).kind in "iub" else a.astype(dtype)
        return a + 1j * a[::-1] if a.dtype.kind == "c" else a


def outcome(call):
    try:
        with np.errstate(all="ignore"):
            return call()
    except (TypeError, ValueError) as error:
        return type(error)


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda ufunc: ufunc.__name__)
def test_bits_and_dtypes_equal_numpys(ufunc):
    for dtype in DTYPES:
        operands = [numbers(dtype, seed) for seed in range(ufunc.nin)]
        result = outcome(lambda x=operands: sharedmem.apply_ufunc(ufunc, *x))
        expected = outcome(lambda x=operands: ufunc(*x))
        if isinstance(expected, type):
            assert result is expected
        else:
            assert result.dtype == expected.dtype
            np.testing.assert_array_equal(result.view(np.ndarray), expected)


def test_ufuncs_do_not_use_libmvec(computed):
    a = np.linspace(-1, 1, 5000)
    np.testing.assert_array_equal(sharedmem.apply_ufunc(np.exp, a), np.exp(a))
    assert computed == [True]


@pytest.mark.parametrize("number", [2, 2.5, True, np.float32(2.5), np.int64(3), np.array(3)])
def test_python_numbers_have_weak_types(number, computed):
    for dtype in ("f4", "i2"):
        a = numbers(dtype)
        result = sharedmem.apply_ufunc(np.multiply, a, number)
        expected = np.multiply(a, number)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)
    assert all(computed)


def test_a_python_number_out_of_bounds():
    a = numbers("u1")
    assert sharedmem.apply_ufunc(np.less, a, 300).all()
    with pytest.raises(OverflowError, match="300"):
        sharedmem.apply_ufunc(np.add, a, 300)


def test_in_place_and_in_any_layout():
    a = np.arange(1.0, 601.0)
    expected = np.sqrt(a)
    for take in (np.s_[:], np.s_[::-1], np.s_[::2], np.s_[:599]):
        x = a.copy()
        sharedmem.apply_ufunc(np.sqrt, x[take], out=x[take])
        np.testing.assert_array_equal(x[take], expected[take])
    square = a[:576].reshape(24, 24)
    result = sharedmem.apply_ufunc(np.add, square.T, square.T)
    np.testing.assert_array_equal(result, 2 * square.T)
    np.testing.assert_array_equal(
        sharedmem.apply_ufunc(np.add, square, square[0]), square + square[0]
    )


@pytest.mark.parametrize(
    ("ufunc", "operands", "message"),
    [
        (np.sqrt, (-1.0,), "invalid value encountered in sqrt"),
        (np.divide, (1.0, 0.0), "divide by zero encountered in divide"),
        (np.multiply, (1e300, 1e300), "overflow encountered in multiply"),
        (np.exp, (1e3,), "overflow encountered in exp"),
        (np.floor_divide, (1, 0), "divide by zero encountered in floor_divide"),
    ],
)
def test_warnings_and_errors_equal_numpys(ufunc, operands, message, computed):
    full = [np.full(300, operand) for operand in operands]
    with pytest.warns(RuntimeWarning, match=message) as caught:
        sharedmem.apply_ufunc(ufunc, *full)
    assert caught[0].filename == __file__
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match=message):
        sharedmem.apply_ufunc(ufunc, *full)
    with np.errstate(all="ignore"):
        sharedmem.apply_ufunc(ufunc, *full)
    assert computed == [True] * 3
    told = []
    with np.errstate(all="call", call=lambda text, _: told.append(text)):
        sharedmem.apply_ufunc(ufunc, *full)
    assert told
    assert message.startswith(told[0])


@pytest.mark.parametrize("shape", [(), 300, 60_000])
def test_warnings_of_numpys_loops_point_at_the_line_of_the_caller(shape, tuned, monkeypatch):
    """Once, whether NumPy computes in the caller, or in threads."""
    tuned(chunk_bytes=1 << 10)
    monkeypatch.setattr(float_flags, "addresses", lambda: ())
    a = np.full(shape, -1.0)
    for call in (
        lambda: sharedmem.apply_ufunc(np.sqrt, a),
        lambda: sharedmem.apply_ufunc(np.sqrt, a, dtype="f4"),
        lambda: sharedmem.MapReduce(np=2).apply_ufunc(np.sqrt, a, out=np.empty(shape)),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        (warning,) = caught
        assert str(warning.message) == "invalid value encountered in sqrt"
        assert warning.filename == __file__
    told = []
    with np.errstate(invalid="warn", divide="call", call=lambda text, _: told.append(text)):
        sharedmem.apply_ufunc(np.reciprocal, np.zeros(shape))
    assert set(told) == {"divide by zero"}


def test_valid_operations_do_not_warn(computed):
    a = numbers("f8")
    with warnings.catch_warnings(), np.errstate(divide="raise", over="raise", invalid="raise"):
        warnings.simplefilter("error")
        for ufunc in (np.less, np.equal, np.isnan, np.negative, np.maximum):
            sharedmem.apply_ufunc(ufunc, *[a] * ufunc.nin)
        sharedmem.apply_ufunc(np.sqrt, np.full(300, np.nan))
    assert all(computed)


def test_numpy_computes_without_libmvec(monkeypatch, computed):
    monkeypatch.setattr(float_flags, "addresses", lambda: ())
    with pytest.warns(RuntimeWarning, match="invalid value encountered in sqrt"):
        result = sharedmem.apply_ufunc(np.sqrt, np.full(300, -1.0))
    assert np.isnan(result).all()
    assert not computed


def test_numpy_computes_where_its_loops_are_not_found(monkeypatch, computed, without_kernels):
    monkeypatch.setattr(fusion, "find_loop", lambda ufunc, dtypes: None)
    a = np.linspace(0, 1, 300)
    np.testing.assert_array_equal(sharedmem.apply_ufunc(np.exp, a), np.exp(a))
    assert not computed


def test_extrema_of_two_arrays_cause_no_warning_of_numpy():
    assert sharedmem.apply_ufunc(np.maximum, np.zeros(2), np.ones(2)).tolist() == [1, 1]
