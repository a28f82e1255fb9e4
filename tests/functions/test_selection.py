"""Selection by indices, masks, and limits equals NumPy's."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from tests.functions.comparing import assert_same, with_workers
from tests.kernels.strategies import arrays

several = settings(max_examples=15)
DTYPES = ("f8", "f4", "i1", "i2", "u8", "?", "c16", "c8", "f2", "g", ">f8", "m8[s]", ">M8[D]")


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=64, thread_bytes=64)


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


def outcome(function, *args, **options):
    """Return the result of a call, or the type of its error."""
    try:
        return np.asarray(function(*args, **options)).tolist()
    except Exception as error:
        return type(error)


@st.composite
def arrays_of_anything(draw):
    a = draw(arrays(dtypes=("f8", "i2", "?", "c16"), min_side=0))
    dtype = draw(st.sampled_from(DTYPES))
    return np.asarray(a if a.dtype.kind == "c" else a.astype(dtype, order="K"))


@several
@given(a=arrays_of_anything(), data=st.data(), mode=st.sampled_from(["raise", "wrap", "clip"]))
def test_take(a, data, mode):
    axis = data.draw(st.none() | st.integers(-a.ndim, a.ndim - 1)) if a.ndim else None
    n = a.size if axis is None else a.shape[axis]
    shape = data.draw(st.sampled_from([(), (0,), (3,), (20,), (4, 5)]))
    dtype = data.draw(st.sampled_from(["i8", "i1", "u2", ">i4"]))
    low = 0 if dtype == "u2" else -min(n, 100)
    indices = np.random.default_rng(0).integers(low, max(min(n, 100), low + 1), shape).astype(dtype)
    try:  # on an empty axis, NumPy never returns
        expected = np.take(a, indices, axis, mode="clip" if n == 0 and mode == "wrap" else mode)
    except IndexError:
        with pytest.raises(IndexError):
            sharedmem.take(a, indices, axis, mode=mode)
        return
    assert_same(sharedmem.take(a, indices, axis, mode=mode), expected)
    out = np.zeros_like(expected, order="C")
    assert sharedmem.take(a, indices, axis, out, mode) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("index", [100, -101, 10**9, -(10**9)])
def test_an_index_out_of_bounds_leaves_out_unchanged(index):
    a, indices, out = np.arange(100.0), np.arange(100), np.zeros(100)
    indices[70] = index
    with pytest.raises(
        IndexError, match=f"index {index} is out of bounds for axis 0 with size 100"
    ):
        sharedmem.take(a, indices, out=out)
    assert not out.any()
    for mode in ("wrap", "clip"):
        assert_same(sharedmem.take(a, indices, mode=mode), np.take(a, indices, mode=mode))


@pytest.mark.parametrize(
    ("indices", "options"),
    [
        (np.arange(20.0), {}),
        (np.arange(20, dtype="u8"), {}),
        (np.ones(20, bool), {}),
        (np.arange(20), {"axis": 3}),
        (np.arange(20), {"mode": "nearest"}),
        (np.arange(20), {"out": np.zeros(19)}),
        (np.arange(20), {"out": np.zeros(20, "i2")}),
        (np.arange(20), {"out": np.zeros(20, "c16")}),
        (np.arange(20), {"out": np.zeros(40)[::2]}),
    ],
)
def test_take_of_unusual_arguments(indices, options):
    a = np.arange(50.0)
    assert outcome(sharedmem.take, a, indices, **options) == outcome(np.take, a, indices, **options)


def test_take_into_shared_and_overlapping_memory():
    a = sharedmem.copy(np.arange(600.0).reshape(20, 30))
    out = sharedmem.empty((20, 5))
    assert sharedmem.take(a, [0, 3, -1, 7, 7], 1, out) is out
    assert_same(np.array(out), np.take(np.array(a), [0, 3, -1, 7, 7], 1))
    a = np.arange(50.0)
    assert_same(sharedmem.take(a, np.arange(50)[::-1], out=a), np.arange(50.0)[::-1])


@several
@given(a=arrays_of_anything(), data=st.data(), density=st.sampled_from([0, 0.02, 0.5, 1]))
def test_compress(a, data, density):
    axis = data.draw(st.none() | st.integers(-a.ndim, a.ndim - 1)) if a.ndim else None
    n = a.size if axis is None else a.shape[axis]
    length = data.draw(st.integers(0, n + 3))
    condition = np.random.default_rng(length).random(length) < density
    condition[n:] = False
    condition = condition.astype(data.draw(st.sampled_from(["?", "f8"])))
    expected = np.compress(condition, a, axis)
    assert_same(sharedmem.compress(condition, a, axis), expected)
    out = np.zeros_like(expected, order="C")
    assert sharedmem.compress(condition, a, axis, out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", ["S5", "V3", "O", [("a", "i2"), ("b", "f8")]])
def test_compress_and_take_of_other_dtypes(dtype):
    a = np.arange(300).astype("S5").astype(dtype) if dtype != "V3" else np.zeros(300, "V3")
    condition = np.arange(300) % 3 == 0
    np.testing.assert_array_equal(sharedmem.compress(condition, a), np.compress(condition, a))
    np.testing.assert_array_equal(
        sharedmem.take(a, [[0, 9], [-1, 7]] * 20), np.take(a, [[0, 9], [-1, 7]] * 20)
    )


@pytest.mark.parametrize(
    ("condition", "axis"),
    [(np.ones(70), None), (np.ones((10, 10)), None), (np.ones(11), 0), (np.ones(300), 1)],
)
def test_invalid_conditions_raise(condition, axis):
    a = np.arange(60.0).reshape(10, 6)
    expected = outcome(np.compress, condition, a, axis)
    assert isinstance(expected, type)
    assert outcome(sharedmem.compress, condition, a, axis) is expected


@several
@given(a=arrays_of_anything())
def test_nonzero(a):
    assert_same(sharedmem.flatnonzero(a), np.flatnonzero(a))
    if a.ndim == 0:
        with pytest.raises(ValueError, match="0d"):
            sharedmem.nonzero(a)
        return
    for results in (sharedmem.nonzero(a), sharedmem.where(a)):
        for result, expected in zip(results, np.nonzero(a), strict=True):
            assert_same(result, expected)


@pytest.mark.parametrize("density", [0, 0.001, 0.5, 1])
@pytest.mark.parametrize("shape", [(5000,), (7, 900), (2000, 3), (2, 1, 1000), (10, 0, 5)])
def test_nonzero_of_many_chunks(shape, density):
    a = np.random.default_rng(0).random(shape) < density
    for result, expected in zip(sharedmem.nonzero(a), np.nonzero(a), strict=True):
        assert_same(result, expected)


def test_nan_negative_zero_and_nat_in_masks():
    a = np.array([np.nan, -0.0, 0.0, 5e-324, -np.inf] * 20)
    assert_same(sharedmem.flatnonzero(a), np.flatnonzero(a))
    times = np.array(["NaT", "1970-01-01", "2000-01-01"] * 20, "M8[s]")
    assert_same(sharedmem.flatnonzero(times), np.flatnonzero(times))


@several
@given(x=arrays_of_anything(), data=st.data())
def test_where(x, data):
    y = data.draw(
        st.sampled_from([0, 2.5, np.float64(1), 1j, True, x[:1] if x.ndim else 3, x.T, "fits"])
    )
    y = numbers(x.shape, x.dtype) if isinstance(y, str) else y
    condition = numbers(x.shape, data.draw(st.sampled_from(["?", "f8"])))
    expected = outcome(np.where, condition, x, y)
    assert str(outcome(sharedmem.where, condition, x, y)) == str(expected)
    if not isinstance(expected, type):
        result, expected = sharedmem.where(condition, x, y), np.where(condition, x, y)
        assert_same(result, expected)
        assert result.strides == expected.strides


def test_where_with_one_choice_raises():
    with pytest.raises(ValueError, match="got 1"):
        sharedmem.where([True], 1)


@pytest.mark.filterwarnings("ignore:invalid value")
@several
@given(a=arrays_of_anything(), data=st.data())
def test_clip(a, data):
    limits = [
        None,
        0,
        -2,
        1.5,
        np.nan,
        300,
        np.int16(2),
        a[:1] if a.ndim else 3,
        numbers((3, 1), "i1"),
    ]
    low, high = data.draw(st.sampled_from(limits)), data.draw(st.sampled_from(limits))
    expected = outcome(np.clip, a, low, high)
    assert str(outcome(sharedmem.clip, a, low, high)) == str(expected)
    if not isinstance(expected, type):
        assert_same(sharedmem.clip(a, low, high), np.clip(a, low, high))


def test_clip_in_place_and_with_unusual_out():
    a = sharedmem.copy(np.arange(100.0))
    assert sharedmem.clip(a, 3, 50, out=a) is a
    assert (a.min(), a.max()) == (3, 50)
    a = np.arange(100.0)
    sharedmem.clip(a[1:], 3, a[:-1], out=a[:-1])
    expected = np.arange(100.0)
    np.clip(expected[1:], 3, expected[:-1], out=expected[:-1])
    assert_same(a, expected)
    for out in (np.zeros(99), np.zeros(100, int), np.zeros((2, 100)), np.zeros(100, "f4")):
        assert outcome(sharedmem.clip, a, 3, 50, out) == outcome(np.clip, a, 3, 50, out)


def test_bits_do_not_depend_on_the_number_of_workers():
    a = np.random.default_rng(0).normal(size=(60, 70))
    with_workers(
        lambda: [
            sharedmem.take(a, [3, 50, -1], 0),
            sharedmem.compress(a.ravel() > 0, a),
            sharedmem.nonzero(a > 0),
            sharedmem.where(a > 0, a, 0),
            sharedmem.clip(a, -1, 1),
        ]
    )
