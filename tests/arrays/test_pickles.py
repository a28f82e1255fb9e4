"""Tests of pickled SharedArrays, which are references to the same memory."""

import ctypes
import functools
import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import sharedmem
from sharedmem.arrays.shared_array import Layout, SharedArray, describe, restore
from sharedmem.memory.segments import Segment

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
    segment = Segment(32)
    layout = Layout(0, (4,), (8,), np.dtype("f8"), writeable=True)
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
    stream = pickle.dumps(sharedmem.ones(30_000))
    with pytest.raises(ReferenceError, match="has been freed"):
        pickle.loads(stream)
    with open(os.devnull):  # takes the number of its descriptor
        others = [sharedmem.ones(30_000) for _ in range(3)]
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
