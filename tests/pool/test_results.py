"""Results of tasks: they are returned unchanged, private, and writable."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem import (
    MapReduce,
    ThreadBackend,
    WorkerException,
)

# Results of each kind that is sent to the coordinator in its own way.
ATOMS = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
RESULTS = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=1)
    ),
    max_leaves=8,
)


class Unloadable:
    def __reduce__(self):
        return divmod, (1, 0)


@given(st.lists(st.integers(0, 300_000), max_size=4), st.integers(1, 3))
@settings(max_examples=15)
def test_arrays_of_any_size_are_returned(sizes, n_workers):
    arrays = [np.arange(size, dtype="i4") for size in sizes]
    results = MapReduce(np=n_workers).map(lambda i: {"i": i, "x": arrays[i]}, range(len(sizes)))
    for i, result in enumerate(results):
        assert result["i"] == i
        np.testing.assert_array_equal(result["x"], arrays[i])
        assert type(result["x"]) is np.ndarray


def test_a_large_result_is_private_to_the_coordinator_and_later_workers():
    pool = MapReduce(np=2)
    (large,) = pool.map(lambda i: np.zeros(100_000), range(1))
    large[0] = 5
    pool.map(lambda i: large.fill(i + 1), range(2))
    assert large[0] == 5
    assert not large[1:].any()


def test_a_task_may_use_the_same_buffer_as_the_one_before(pool):
    if pool.np and pool.backend is ThreadBackend:
        pytest.skip("threads hand over the buffer itself")
    if not pool.np:
        pytest.skip("so does a serial pool")
    buffers = [
        np.zeros(3),
        np.zeros(100_000),
        [0],
        {0: 0},
        [[0]],
        {0: [0]},
        ([0],),
        np.zeros(1, "O"),
    ]

    def work(i):
        buffer = buffers[i % len(buffers)]
        if isinstance(buffer, tuple) or isinstance(buffer[0], list):
            buffer[0][0] = i
        else:
            buffer[0] = i
        return buffer

    results = pool.map(work, range(80))
    numbers = [r[0] if np.isscalar(r[0]) else r[0][0] for r in results]
    assert numbers == list(range(80))


@given(results=st.lists(RESULTS, min_size=1, max_size=30), n_workers=st.integers(1, 3))
@settings(max_examples=25)
def test_results_are_returned_unchanged(results, n_workers):
    assert repr(MapReduce(np=n_workers).map(results.__getitem__, range(len(results)))) == repr(
        results
    )


def test_the_memory_order_and_type_of_small_arrays_are_kept():
    arrays = [
        np.asfortranarray(np.arange(6, dtype=dtype).reshape(2, 3))
        for dtype in ("i2", "c16", "m8[s]")
    ] + [
        np.array(5),
        np.zeros((0, 3)),
        np.zeros(2, [("a", "i4"), ("b", "O")]),
        np.arange(9)[::-2],
    ]
    for array, result in zip(
        arrays, MapReduce(np=2).map(lambda i: arrays[i], range(7)), strict=True
    ):
        assert result.dtype == array.dtype
        assert result.flags.f_contiguous == array.copy("K").flags.f_contiguous
        assert result.flags.writeable
        np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("size", [500, 10_000])
@pytest.mark.parametrize("dtype", [">i4", "<i4", "f4,>f8"])
def test_the_byte_order_of_arrays_is_kept(dtype, size):
    (found,) = MapReduce(np=1).map(lambda _: np.ones(size, dtype), [0])
    assert found.dtype == np.dtype(dtype)
    assert (found == np.ones(size, dtype)).all()


def test_large_str_and_bytes_are_returned(pool):
    texts = pool.map(lambda i: (str(i) * 3_000_000, b"x" * i), range(3))
    assert [(text[:1], len(text), data) for text, data in texts] == [
        ("0", 3_000_000, b""),
        ("1", 3_000_000, b"x"),
        ("2", 3_000_000, b"xx"),
    ]
    assert pool.map(lambda i: b"ab" * i, range(3)) == [b"", b"ab", b"abab"]


def test_shared_arrays_made_in_a_worker_are_returned_by_reference():
    pool = MapReduce(np=2)
    arrays = pool.map(lambda i: sharedmem.full(1000, i), range(5))
    assert all(type(array) is sharedmem.SharedArray for array in arrays)
    pool.map(lambda i: arrays[i].__iadd__(0.5)[0], range(5))
    assert [array[-1] for array in arrays] == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_views_of_inherited_arrays_are_returned_as_views(pool):
    array = sharedmem.zeros((4, 5))
    for i, row in enumerate(pool.map(lambda i: array[i, ::-1], range(4))):
        row[:] = i
    assert (array == np.arange(4)[:, None]).all()


def test_more_shared_arrays_in_a_result_than_one_message_carries():
    ((arrays),) = MapReduce(np=1).map(
        lambda _: [sharedmem.full(1, k) for k in range(600)], range(1)
    )
    assert [int(array[0]) for array in arrays] == list(range(600))


def test_a_slow_reduce_limits_the_results_in_flight():
    started = sharedmem.zeros(1, "i8")
    ahead = []

    def work(i):
        started[0] += 1
        return np.ones(2_000_000)

    def reduce(x):
        time.sleep(0.02)
        ahead.append(int(started[0]) - len(ahead))

    MapReduce(np=1).map(work, range(20), reduce=reduce)
    # 16 MB each: the window of 32 MiB, one more on its way, one at work.
    assert max(ahead) <= 6


def test_an_unpicklable_result_raises_an_error_that_names_the_task():
    pool = MapReduce(np=2)
    with pytest.raises(WorkerException, match="Task 1 in worker 1") as caught:
        pool.map(lambda i: (lambda: i) if i == 1 else i, range(2))
    assert "pickle" in str(caught.value)
    assert pool.map(abs, [-1]) == [1]


def test_a_result_that_cannot_be_unpickled_raises_an_error_that_names_the_task():
    with pytest.raises(WorkerException, match="result of task 2") as caught:
        MapReduce(np=1).map(lambda i: Unloadable() if i == 2 else [i], range(4))
    assert isinstance(caught.value.reason, ZeroDivisionError)


@pytest.mark.parametrize("order", ["C", "F"])
def test_results_of_all_sizes_are_writable_copies(order):
    def read_only(n):
        a = np.arange(2.0 * n).reshape(2, -1, order=order)
        a.flags.writeable = False
        return a

    sizes = [1, 64, 65, 4095, 4096, 100_000]
    with sharedmem.MapReduce(np=2) as pool:
        results = [*pool.map(read_only, sizes), *pool.imap(lambda n: (read_only(n),), sizes)]
    results += [sharedmem.background(read_only, n).wait() for n in sizes]
    for n, result in zip(3 * sizes, results, strict=True):
        (result,) = result if isinstance(result, tuple) else (result,)
        np.testing.assert_array_equal(result, read_only(n))
        result += 1
