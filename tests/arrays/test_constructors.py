"""Constructors follow NumPy's: shapes, dtypes, memory orders, and values."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import sharedmem
from sharedmem.arrays.shared_array import SharedArray

LARGE = 2_200_001  # elements: several pieces, the last of them shorter


@st.composite
def arrays(draw):
    """Draw an array of any layout: sliced, reversed, transposed, or broadcast."""
    dtype = draw(st.sampled_from(["f8", "i2", "c8", "?", "S3", "M8[s]", "i4,f8", ">f4"]))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    a = np.arange(np.prod(shape, dtype=int)).astype("i8").reshape(shape)
    a = (a % 2 if dtype == "?" else a).astype(dtype)
    a = a[tuple(slice(None, None, draw(st.sampled_from([1, 2, -1]))) for _ in shape)]
    if draw(st.booleans()):
        a = np.broadcast_to(a, (2, *a.shape))
    return a.transpose(draw(st.permutations(range(a.ndim))))


@given(arrays(), st.sampled_from("KACF"))
def test_copies_and_like_forms_have_numpys_memory_order(a, order):
    expected = np.empty_like(a, order=order)
    for made in (
        sharedmem.copy(a, order=order),
        sharedmem.array(a, order=order),
        sharedmem.empty_like(a, order=order),
        sharedmem.zeros_like(a, order=order),
        sharedmem.full_like(a, a, order=order),
    ):
        assert type(made) is SharedArray
        assert (made.shape, made.dtype) == (expected.shape, expected.dtype)
        assert made.size < 2 or made.strides == expected.strides
    np.testing.assert_array_equal(sharedmem.copy(a, order=order), a)
    np.testing.assert_array_equal(sharedmem.full_like(a, a, order=order), a)


@pytest.mark.parametrize("shape", [(), 0, 3, (2, 0, 3), [2, 3], np.int64(4), np.array([2, 2])])
@pytest.mark.parametrize("order", ["C", "F"])
def test_shapes_and_orders(shape, order):
    for name in ("empty", "zeros", "ones"):
        made = getattr(sharedmem, name)(shape, "i4", order=order)
        expected = getattr(np, name)(shape, "i4", order=order)
        assert made.shape == expected.shape
        assert not made.size or made.strides == expected.strides
        if name != "empty":
            np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("dtype", ["S", "U", "S4", "V3", ("f8", (3,)), "i4,f8", "g", "G", None])
def test_dtypes_as_in_numpy(dtype):
    made, expected = sharedmem.zeros((2, 3), dtype), np.zeros((2, 3), dtype)
    assert (made.dtype, made.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(
    "dtype", [object, "i4,O", [("a", [("b", "f8"), ("c", "O", (2,))])], np.dtypes.StringDType()]
)
def test_dtypes_with_objects_raise(dtype):
    for call in (
        lambda: sharedmem.empty(3, dtype),
        lambda: sharedmem.copy(np.empty(3, dtype)),
        lambda: sharedmem.fromiter([], dtype),
    ):
        with pytest.raises(TypeError, match="pointers to Python objects"):
            call()


def test_invalid_shapes_and_orders_raise():
    with pytest.raises(
        ValueError, match=r"negative dimensions are not allowed, got shape \(3, -1\)"
    ):
        sharedmem.empty((3, -1))
    with pytest.raises(TypeError, match="integer"):
        sharedmem.zeros(2.5)
    with pytest.raises(ValueError, match="order must be 'C' or 'F', got 'K'"):
        sharedmem.zeros(3, order="K")
    with pytest.raises(ValueError, match="order must be one of"):
        sharedmem.copy([1], order="X")
    with pytest.raises(ValueError, match="broadcast"):
        sharedmem.full(3, [1, 2])


@pytest.mark.parametrize("nbytes", [2**42, 2**70])
def test_more_memory_than_the_machine_has_raises(nbytes):
    with pytest.raises(
        MemoryError, match=f"{nbytes} bytes .* has {sharedmem.total_memory()} bytes"
    ):
        sharedmem.zeros(nbytes, "u1")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8", "c16", "S7", "i4,f8"])
def test_large_fills(dtype):
    value = np.array(7, "i4").astype(dtype)
    shape = (7, LARGE // 7)
    np.testing.assert_array_equal(sharedmem.full(shape, value, dtype), np.full(shape, value, dtype))
    assert not sharedmem.zeros(shape, dtype).tobytes().strip(b"\0")
    row = np.arange(shape[1]).astype(dtype)
    np.testing.assert_array_equal(sharedmem.full(shape, row, dtype), np.full(shape, row, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, -1, 2])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(LARGE,), (3, LARGE // 3), (LARGE // 3, 3), (50, 70, 200)])
def test_large_copies(shape, order, step):
    a = np.arange(np.prod(shape)).reshape(shape, order=order)[..., ::step]
    np.testing.assert_array_equal(sharedmem.copy(a), a)


def test_values_are_cast_as_in_numpy():
    with pytest.raises(OverflowError):
        sharedmem.full(3, 300, "u1")
    assert sharedmem.full(2, 1.7, "i4").tolist() == [1, 1]
    assert sharedmem.full_like(np.ones(2, "i4"), 3.5).dtype == "i4"
    assert sharedmem.full(2, (1, 2.5), "i4,f8").tolist() == [(1, 2.5)] * 2
    assert sharedmem.ones(1, "i4,f8").tolist() == [(1, 1.0)]
    assert sharedmem.full((), 3)[()] == 3.0
    assert sharedmem.array([1, 2], "f4").dtype == "f4"
    assert sharedmem.array(5).shape == ()


def test_error_state_of_the_caller_holds_in_all_threads():
    a = np.full(LARGE, np.inf)
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        sharedmem.full_like(a, a, dtype="i4")
    with np.errstate(invalid="ignore"):
        assert sharedmem.full_like(a, a, dtype="i4").shape == a.shape
