"""Tests of SharedArray: it is always in shared memory."""

import copy
import ctypes
import mmap
import pickle
import warnings

import numpy as np
import pytest

import sharedmem
from sharedmem.arrays.shared_array import SharedArray, describe
from sharedmem.memory.segments import Segment, find_segment


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_double))


def assert_invariant(result):
    """Assert that each SharedArray in a result is in shared memory, and pickles to equal values."""
    if isinstance(result, tuple | list):
        for part in result:
            assert_invariant(part)
    elif isinstance(result, np.ndarray):
        if type(result) is SharedArray:
            low, high = np.lib.array_utils.byte_bounds(result)
            assert not result.size or find_segment(low, high - low) is not None
        if not result.dtype.hasobject:
            loaded = pickle.loads(pickle.dumps(result))
            assert loaded.tobytes() == result.tobytes()


UNSAFE = {
    *("save", "savez", "savez_compressed", "savetxt", "memmap", "DataSource", "test", "tofile"),
    *("dump", "info", "source", "seterr", "seterrcall", "setbufsize", "setflags", "setfield"),
    *("set_printoptions", "show_config", "show_runtime", "printoptions", "errstate", "resize"),
    *("__init_subclass__", "__class__", "__subclasshook__", "__setattr__", "__delattr__"),
}


def callables(module):
    for name in dir(module):
        function = getattr(module, name)
        if callable(function) and name not in UNSAFE and not isinstance(function, type):
            yield name, function


def arguments(a):
    index = np.array([1, 0])
    return [
        *((a,), (a, a), (a, 1), (a, 0), (a, 1, 0), (a, index), (a, "f4"), (a, (2, 6)), ([a, a],)),
        *((a > 3, a), (a, a > 3), (a, index, 0), (a, 2, a), (a > 3, a, a), (a, (1, 0)), (0, a)),
        *(("ij,kj", a, a), (np.sum, 0, a), (np.sort, 0, a), (a.T, a), (np.sum, a, (0, 1))),
    ]


@pytest.mark.parametrize(
    "module",
    [np, np.ndarray, np.linalg, np.fft, np.lib.stride_tricks, np.lib.scimath, np.ma],
    ids=lambda module: module.__name__,
)
def test_numpy_functions_return_no_shared_array_in_private_memory(module):
    n_results = 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for _, function in callables(module):
            for k in range(len(arguments(0 * np.arange(3.0)))):
                a = sharedmem.copy(np.arange(12.0).reshape(3, 4))
                try:
                    result = function(*arguments(a)[k])
                except Exception:
                    continue
                n_results += 1
                assert_invariant(result)
    assert n_results > 5


def test_ufunc_methods_return_no_shared_array_in_private_memory():
    a = sharedmem.copy(np.arange(1.0, 13.0).reshape(3, 4))
    for result in (
        np.add.reduce(a),
        np.add.accumulate(a),
        np.multiply.outer(a, a),
        np.add.reduceat(a, [0, 2]),
        np.frexp(a),
        np.matmul(a, a.T),
        np.vectorize(lambda x: x + 1)(a),
    ):
        assert_invariant(result)
        assert type(result) in (np.ndarray, tuple)


def test_views_stay_shared():
    a = sharedmem.copy(np.arange(24.0).reshape(2, 3, 4))
    for view in (
        a[1],
        a[..., 0],
        a[::-1, ::2],
        a.T,
        a.reshape(6, 4),
        a.ravel(),
        a.view("i8"),
        a.squeeze(),
        a.swapaxes(0, 1),
        a.diagonal(),
        a.real,
        np.broadcast_to(a, (5, 2, 3, 4), subok=True),
        np.lib.stride_tricks.as_strided(a, (3, 3), (8, 8), subok=True),
        a[()],
        a[1:1],
        np.asarray(a).view(SharedArray),
        a.astype("f8", copy=False),
    ):
        assert type(view) is SharedArray
        assert np.shares_memory(view, a) or not view.size
        assert_invariant(view)


def test_new_arrays_are_plain_ndarrays():
    a = sharedmem.copy(np.arange(24.0).reshape(4, 6))
    mask = sharedmem.copy(np.asarray(a) > 5)
    for fresh in (
        a + 1,
        -a,
        a @ a.T,
        a[[0, 2]],
        a[:, [1, 2]],
        a[mask],
        a[np.ix_([0, 1], [2, 3])],
        a.copy(),
        a.astype("f4"),
        a.T.ravel(),
        a.T.reshape(-1),
        a.flatten(),
        a.take([1], axis=0),
        a.sum(axis=0),
        a.cumsum(),
        a.clip(1, 2),
        a.argsort(),
        np.sort(a),
        np.zeros_like(a),
        np.concatenate([a, a]),
        np.pad(a, 1),
        np.dot(a, a.T),
        np.where(mask, a, 0),
        np.split(a + 0, 2)[0],
        np.roll(a, 1),
        np.random.permutation(a),
        copy.copy(a),
        copy.deepcopy(a),
        np.array(a),
    ):
        assert type(fresh) is np.ndarray
        assert not sharedmem.is_shared(fresh)
    for scalar in (a.sum(), a.max(), a[0, 0], np.add(a[0, 0], 1), sharedmem.full((), 2.0) + 1):
        assert isinstance(scalar, np.float64)


def test_where_numpy_keeps_the_subclass_it_is_private():
    a = sharedmem.copy(np.arange(3.0))
    for twin in (np.array(a, subok=True), np.arange(3.0).view(SharedArray), a.flat[[0, 1]]):
        assert type(twin) is not SharedArray
        assert not sharedmem.is_shared(twin)
        loaded = pickle.loads(pickle.dumps(twin))
        assert type(loaded) is np.ndarray
        loaded[0] = 5
        assert twin[0] == 0


def test_a_view_that_leaves_the_segment_is_private():
    a = sharedmem.empty(1 << 14)  # whole pages
    wild = np.lib.stride_tricks.as_strided(a, (2, 1 << 14), (8, 8), subok=True)
    assert type(wild) is not SharedArray


def test_out_and_in_place_keep_the_array():
    a = sharedmem.ones((2, 3))
    b = a
    b += 1
    assert b is a
    assert np.add(a, 1, out=a) is a
    assert a.sum(axis=0, out=a[0]) is not None
    assert type(a) is SharedArray
    assert (np.asarray(a[1]) == 3).all()


def test_memory_cannot_be_replaced():
    a = sharedmem.zeros(3)
    with pytest.raises(TypeError, match="cannot be replaced"):
        a.__setstate__((1, (3,), np.dtype("f8"), False, bytes(24)))
    with pytest.raises(ValueError, match="cannot resize"):
        a.resize(5)


def test_other_objects_on_the_memory_keep_it_alive():
    a = sharedmem.copy(np.arange(4.0))
    others = [memoryview(a), np.frombuffer(a), a.ctypes, a.flat]
    del a
    assert others[0].tolist() == list(others[1]) == list(others[3]) == [0, 1, 2, 3]


def test_is_shared(tmp_path):
    a = sharedmem.ones((3, 4))
    for shared in (a, a[1:, ::2], np.asarray(a).T, a[1:1], np.frombuffer(a)):
        assert sharedmem.is_shared(shared)
    for private in (a + 1, np.ones(3), np.ones(3)[1:], [1, 2], 3, bytearray(8), None):
        assert not sharedmem.is_shared(private)
    path = tmp_path / "array"
    for mode, expected in (("w+", True), ("r+", True), ("r", False), ("c", False)):
        mapped = np.memmap(path, "f8", mode, shape=(5,))
        assert sharedmem.is_shared(mapped) is expected
        assert sharedmem.is_shared(np.asarray(mapped)[1:]) is expected


def test_other_shared_mappings_are_shared():
    assert sharedmem.is_shared(np.frombuffer(mmap.mmap(-1, 80)))
    assert not sharedmem.is_shared(np.frombuffer(mmap.mmap(-1, 80, flags=mmap.MAP_PRIVATE)))


def test_old_name():
    assert sharedmem.anonymousmemmap is SharedArray
    assert type(SharedArray((2, 3), "i4", "F")) is SharedArray


def test_structures_of_ctypes():
    a = sharedmem.zeros(2, Point)
    a["y"][1] = 2.5
    assert a[1]["y"] == 2.5
    assert type(a["x"]) is SharedArray
    assert isinstance(describe(a)[0], Segment)
