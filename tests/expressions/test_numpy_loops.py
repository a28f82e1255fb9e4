"""NumPy's loops: the private functions that they come from give what they are documented to."""

import ctypes

import numpy as np
import pytest

import sharedmem
from sharedmem.expressions import fusion, numpy_loops
from sharedmem.expressions.language import UFUNCS

LOOPS = sorted({*UFUNCS.values()}, key=lambda ufunc: ufunc.__name__)
INTEGER = (np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift)
LOOP = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 5)
BROKEN = (
    "ufunc._resolve_dtypes_and_context and ufunc._get_strided_loop of NumPy "
    f"{np.__version__} no longer give the capsule {numpy_loops._CAPSULE.decode()!r} with a loop of "
    "numpy.{}: see sharedmem/expressions/numpy_loops.py"
)


def call(loop, arrays):
    pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    steps = (ctypes.c_ssize_t * len(arrays))(*(a.itemsize for a in arrays))
    length = ctypes.c_ssize_t(arrays[0].size)
    at = ctypes.addressof
    return LOOP(loop.function)(loop.context, at(pointers), at(length), at(steps), loop.auxdata)


@pytest.mark.parametrize("ufunc", LOOPS, ids=lambda ufunc: ufunc.__name__)
def test_loops_compute_what_numpy_does(ufunc):
    inputs = [np.linspace(-2, 2, 99)] * ufunc.nin
    if ufunc in INTEGER:
        inputs = [np.arange(99, dtype="u4")] * ufunc.nin
    with np.errstate(all="ignore"):
        expected = ufunc(*inputs)
    loop = numpy_loops.find_loop(ufunc, tuple(a.dtype for a in (*inputs, expected)))
    assert loop is not None, BROKEN.format(ufunc.__name__)
    result = np.empty_like(expected)
    assert call(loop, [*inputs, result]) == 0
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtypes", ["OOO", "ddf", "ffd", "dd"])
def test_loops_with_casts_or_the_gil_are_left_to_numpy(dtypes):
    assert numpy_loops.find_loop(np.add, tuple(map(np.dtype, dtypes))) is None


def test_numpy_computes_where_its_loops_are_not_found(monkeypatch, tuned, without_kernels):
    tuned(expression_piece_length=16)
    monkeypatch.setattr(numpy_loops, "_CAPSULE", b"numpy_3_ufunc_call_info")
    a = np.linspace(0, 1, 100)
    np.testing.assert_array_equal(sharedmem.evaluate("log10(a + 1) + 1", a=a), np.log10(a + 1) + 1)
    assert fusion._fuse.cache_info().currsize == 1
