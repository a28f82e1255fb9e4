"""Tests of SharedArray: it is always in shared memory, and it is pickled by reference."""

import copy
import ctypes
import functools
import mmap
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import sharedmem
from sharedmem.arrays.shared_array import SharedArray, describe, restore
from sharedmem.memory.segments import Segment, find_segment

DTYPES = [
    "?",
    "i1",
    "u8",
    "f2",
    "f4",
    "f8",
    "g",
    "c16",
    "S5",
    "U3",
    "M8[us]",
    "m8[D]",
    "V7",
    ">i4",
    [("x", "f8"), ("label", "S3"), ("pair", "i2", (2,))],
    ctypes.c_short,
]


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
            assert not result.size or find_segment(low, high - low)
        if not result.dtype.hasobject:
            loaded = pickle.loads(pickle.dumps(result))
            assert loaded.tobytes() == result.tobytes()


# Types of results

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
    a = sharedmem.empty(512)  # one page
    wild = np.lib.stride_tricks.as_strided(a, (2, 512), (8, 8), subok=True)
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


# Pickles


@st.composite
def views(draw):
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=5))
    a = sharedmem.copy(np.arange(np.prod(shape, dtype=int)).reshape(shape))
    key = draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    view = a[key] if isinstance(a[key], np.ndarray) else a
    return view.transpose(draw(st.permutations(range(view.ndim))))


@given(views(), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_pickle_of_any_view_aliases(view, protocol):
    loaded = pickle.loads(pickle.dumps(view, protocol))
    assert type(loaded) is SharedArray
    assert (loaded.shape, loaded.dtype) == (view.shape, view.dtype)
    assert (loaded.strides, loaded.flags.writeable) == (view.strides, view.flags.writeable)
    loaded[...] = -7
    assert (np.asarray(view) == -7).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pickle_keeps_the_type(dtype):
    a = sharedmem.empty((2, 2), dtype)
    np.asarray(a).view("u1")[...] = 1
    loaded = pickle.loads(pickle.dumps(a))
    assert loaded.dtype == a.dtype
    assert loaded.tobytes() == a.tobytes()


def test_misaligned_and_swapped_fields_are_pickled():
    a = sharedmem.zeros(3, [("flag", "u1"), ("value", ">f8")])
    field = a["value"][::-1]
    pickle.loads(pickle.dumps(field))[...] = [1, 2, 3]
    assert a["value"].tolist() == [3, 2, 1]


def test_more_elements_than_an_int_counts():
    a = sharedmem.empty(2**31 + 1, "i1")  # lazy: it takes two pages
    a[-1] = 5
    loaded = pickle.loads(pickle.dumps(a[::-1]))
    assert (loaded[0], loaded[-1], loaded.size) == (5, 0, 2**31 + 1)


def test_a_read_only_view_stays_read_only():
    view = np.broadcast_to(sharedmem.ones(3), (2, 3), subok=True)
    loaded = pickle.loads(pickle.dumps(view))
    assert loaded.strides == (0, 8)
    assert not loaded.flags.writeable


def test_a_pickle_is_small_and_contains_no_address():
    a = sharedmem.ones(1_000_000)
    stream = pickle.dumps(a)
    assert len(stream) < 500
    assert a.ctypes.data.to_bytes(6, "little") not in stream


@pytest.mark.parametrize(
    "change",
    [
        {"offset": -8},
        {"offset": 8},
        {"offset": 2**62},
        {"shape": (5,)},
        {"shape": (-1,)},
        {"shape": (2**62,)},
        {"shape": (2, 2)},
        {"shape": (4, 4)},
        {"strides": (-8,)},
        {"strides": (2**62,)},
        {"strides": (9,)},
        {"dtype": np.dtype("c16")},
    ],
    ids=str,
)
def test_a_tampered_layout_is_refused(change):
    segment, layout = describe(sharedmem.ones(4))
    with pytest.raises(ValueError, match=r"exceeds its segment|do not describe an array"):
        restore(segment, layout._replace(**change))


def test_a_layout_too_large_for_numpy_is_refused():
    segment, layout = describe(sharedmem.ones(4))
    with pytest.raises(ValueError, match=r"too big|dimension"):
        restore(segment, layout._replace(shape=(2**40, 2**40), strides=(0, 0)))


def test_a_tampered_layout_cannot_contain_objects():
    segment, layout = describe(sharedmem.ones(4))
    with pytest.raises(TypeError, match="Python objects"):
        restore(segment, layout._replace(dtype=np.dtype(object)))


def test_private_memory_has_no_segment():
    with pytest.raises(ValueError, match="not in shared memory"):
        describe(np.ones(3))


def add_one(a, _):
    a += 1
    return a


def test_a_pool_forked_before_the_array_existed():
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        a = sharedmem.zeros((4, 5))
        view = a[1:3, ::-2]
        results = pool.map(functools.partial(add_one, view), range(3), chunksize=1)
        assert (np.asarray(view) == 3).all()
        assert all(np.shares_memory(result, a) for result in results)
        assert a.sum() == view.size * 3
        pool.close()
        pool.join()


def test_a_spawned_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        a = sharedmem.zeros(5)
        pool.apply(add_one, (a, None))
        assert a.sum() == 5
        pool.close()
        pool.join()


LOAD = "import pickle, sys; a = pickle.load(sys.stdin.buffer); a += 1; print(a.sum())"


def load_elsewhere(stream, program=LOAD, **options):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, input=stream, capture_output=True, check=False, **options)


def test_any_process_of_the_user():
    a = sharedmem.zeros(5)
    done = load_elsewhere(pickle.dumps(a))
    assert (done.stdout, done.stderr) == (b"5.0\n", b"")
    assert a.sum() == 5


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user_is_refused(tmp_path):
    program = f"import numpy, sharedmem, os; os.setuid(65534); {LOAD}"
    done = load_elsewhere(pickle.dumps(sharedmem.zeros(5)), program)
    assert b"PermissionError" in done.stderr
    assert b"another user" in done.stderr


def test_an_owner_that_has_ended_is_named():
    program = (
        "import pickle, sys, sharedmem; sys.stdout.buffer.write(pickle.dumps(sharedmem.ones(3)))"
    )
    done = load_elsewhere(b"", program)
    assert done.stderr == b""
    with pytest.raises(ReferenceError, match="the process has ended"):
        pickle.loads(done.stdout)


def test_a_freed_array_is_refused():
    stream = pickle.dumps(sharedmem.ones(3))
    with pytest.raises(ReferenceError, match="has been freed"):
        pickle.loads(stream)
    with open(os.devnull):  # takes the number of its descriptor
        others = [sharedmem.ones(3) for _ in range(3)]
        with pytest.raises(ReferenceError, match="has been freed"):
            pickle.loads(stream)
    assert len(others) == 3
    assert b"has been freed" in load_elsewhere(stream).stderr


def test_interpreter_exit_is_silent():
    program = (
        "import sharedmem, numpy as np; a = sharedmem.ones(3); b = [a[1:]]; b.append(b); c = a.flat"
    )
    done = load_elsewhere(b"", program)
    assert (done.returncode, done.stderr) == (0, b"")


# is_shared


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
