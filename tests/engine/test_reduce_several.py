"""Several reductions at once, and reductions of several arrays."""

import operator
from collections import Counter

import h5py
import numba
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem import MapReduce, MapReduceByThread, Reduction
from sharedmem.engine.reduce import Request
from sharedmem.engine.reduce_stored import reduce_stores
from sharedmem.engine.regions import Derived
from sharedmem.kernels import counts, extrema, sums, variances

CHUNK_BYTES = 1 << 12

VALUES = np.random.default_rng(0).normal(size=(40, 30, 9))


@numba.njit(nogil=True)
def weighted_sum(x, w):
    total = weights = 0.0
    for i in range(x.size):
        total += x[i] * w[i]
        weights += w[i]
    return total, weights


@numba.njit(nogil=True)
def sum_of_squares(x):
    total = 0.0
    for each in x:
        total += each * each
    return total, x.size


def add_pairs(a, b):
    return a[0] + b[0], a[1] + b[1]


def quotient(state):
    return state[0] / state[1]


WEIGHTED_MEAN = Reduction(weighted_sum, add_pairs, quotient, identity=(0.0, 0.0))
MEAN_SQUARE = Reduction(sum_of_squares, add_pairs, quotient)
PAIRS = Reduction(lambda x, w: np.stack([x, w]), lambda a, b: np.concatenate([a, b], axis=1))
COVERED = Reduction(
    lambda x, w: ((x * w).sum(axis=1), w.sum(axis=1)), add_pairs, quotient, lines=True
)
PEAK = Reduction(
    lambda x: (np.abs(x).max(axis=1),),
    lambda a, b: (np.maximum(a[0], b[0]),),
    lambda state: state[0],
    lines=True,
)


@pytest.fixture(autouse=True)
def many_chunks(tuned):
    tuned(thread_bytes=1, chunk_bytes=CHUNK_BYTES)


class Counted:
    """An array in a file that counts how often each of its regions is read."""

    def __init__(self, store):
        self.store, self.reads = store, Counter()
        self.shape, self.ndim, self.dtype = store.shape, store.ndim, np.dtype(store.dtype)
        self.chunks, self.nbytes = store.chunks, store.nbytes

    def __getitem__(self, region):
        self.reads[tuple((part.start, part.stop) for part in region)] += 1
        return self.store[region]


@pytest.fixture
def store(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        yield Counted(file.create_dataset("a", data=VALUES, chunks=(10, 20, 9)))


@pytest.fixture
def other(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        yield Counted(file.create_dataset("b", data=VALUES[::-1], chunks=(5, 30, 3)))


def stream_of(pool, *stores):
    return pool.runner.stored(stores)[0]


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_stores_are_read_once_for_all_reductions(store, n_workers):
    minus = Derived(np.negative, (store,), store.shape, store.dtype)
    requests = [
        Request(reduction, a, axis, keepdims)
        for reduction in (
            sums.add("f8", "f8"),
            extrema.minmax("f8"),
            variances.variance("f8", "f8"),
        )
        for a in (store, minus)
        for axis, keepdims in ((None, False), (1, True), ((0, 2), False), (-1, False))
    ]
    pool = MapReduce(np=n_workers)
    results = reduce_stores(stream_of(pool, store), requests)
    assert {*store.reads.values()} == {1}
    for request, result in zip(requests, results, strict=True):
        (alone,) = reduce_stores(stream_of(pool, store), [request])
        np.testing.assert_array_equal(np.asarray(result), np.asarray(alone))


def test_arrays_are_cut_between_the_chunks_of_all_files(store, other):
    product = Derived(np.multiply, (store, other), store.shape, store.dtype)
    requests = [Request(sums.add("f8", "f8"), a, 0) for a in (product, store, other)]
    results = reduce_stores(stream_of(MapReduce(np=2), store, other), requests)
    for result, values in zip(results, (VALUES * VALUES[::-1], VALUES, VALUES[::-1]), strict=True):
        np.testing.assert_allclose(result, values.sum(0), rtol=1e-12, atol=1e-12)
    for part in (store, other):
        assert {*part.reads.values()} == {1}
        for (start, stop), unit, length in zip(
            next(iter(part.reads)), part.chunks, part.shape, strict=True
        ):
            assert start % unit == 0
            assert stop % unit == 0 or stop == length


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_stores_without_axes_or_elements(tmp_path, shape):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        store = file.create_dataset("a", data=np.zeros(shape))
        requests = [
            Request(sums.add("f8", "f8"), store),
            Request(counts.count_nonzero("f8"), store),
        ]
        assert reduce_stores(stream_of(MapReduce(np=2), store), requests) == [0, 0]


@st.composite
def views(draw):
    """Draw two arrays that can be broadcast together, with steps of all kinds, and axes."""
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    arrays = []
    for seed in range(2):
        own = [n if draw(st.integers(0, 3)) else 1 for n in shape]
        own = own[seed and draw(st.sampled_from([0, 0, 1])) :]
        steps = [draw(st.sampled_from([1, 1, 2, -1])) for _ in own]
        order = draw(st.permutations(range(len(own))))
        lengths = [own[at] * abs(steps[at]) for at in order]
        a = np.random.default_rng(seed).uniform(1, 2, lengths).transpose(np.argsort(order))
        arrays.append(a[tuple(slice(None, None, step) for step in steps)])
    axes = draw(st.none() | st.sets(st.integers(0, len(shape) - 1), min_size=1).map(tuple))
    return arrays, axes, draw(st.booleans())


@pytest.mark.slow
@given(views())
@settings(max_examples=100)
def test_arrays_are_reduced_together_as_numpy_would(drawn):
    (x, w), axes, keepdims = drawn
    full, weights = np.broadcast_arrays(x, w)
    wanted = (full * weights).sum(axes, keepdims=keepdims) / weights.sum(axes, keepdims=keepdims)
    for reduction in (COVERED, WEIGHTED_MEAN):
        serial, threads = (
            pool.reduce(reduction, (x, w), axes, keepdims)
            for pool in (MapReduce(np=0), MapReduceByThread(np=3))
        )
        np.testing.assert_allclose(serial, wanted, rtol=1e-13)
        np.testing.assert_array_equal(serial, threads)
        assert np.shape(serial) == np.shape(wanted)


@given(views())
@settings(max_examples=60)
def test_pieces_of_arrays_belong_together(drawn):
    (x, w), _, _ = drawn
    full, weights = np.broadcast_arrays(x, w)
    found = MapReduce(np=0).reduce(PAIRS, (x, w))
    pairs = sorted(zip(full.flat, weights.flat, strict=True))
    assert sorted(map(tuple, found.T.tolist())) == pairs


def test_elements_are_in_the_memory_order_of_the_first_array_that_is_not_broadcast():
    x = np.asfortranarray(np.arange(600.0).reshape(20, 30))
    row, column = np.arange(30.0), np.arange(20.0)[:, None]
    for arrays, order in (((column, x), "F"), ((x, x.copy("C")), "F"), ((column, row), "C")):
        found = MapReduce(np=2).reduce(PAIRS, arrays)
        np.testing.assert_array_equal(
            found, [part.ravel(order) for part in np.broadcast_arrays(*arrays)]
        )


@pytest.mark.parametrize("n_workers", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("axis", [None, 0, (0, 2), 1])
def test_any_number_of_workers_gives_the_same_bits(n_workers, axis):
    weights = np.random.default_rng(1).uniform(size=(30, 1))
    for reduction in (WEIGHTED_MEAN, COVERED):
        found, expected = (
            pool.reduce(reduction, (VALUES.T.copy().T, weights), axis)
            for pool in (MapReduce(np=n_workers), MapReduceByThread(np=2))
        )
        np.testing.assert_array_equal(found, expected)


def same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])
        assert type(found[name]) is type(expected[name])


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, (0, 2), -1])
@pytest.mark.parametrize("make", [lambda: MapReduce(np=2), lambda: MapReduceByThread(np=3)])
def test_a_mapping_gives_the_result_of_each_reduction_alone(make, axis, keepdims):
    pool = make()
    joined = Reduction(lambda x: x.copy(), lambda a, b: np.concatenate([a, b]), np.sum)
    reductions = {"square": MEAN_SQUARE, "peak": PEAK, "joined": joined, 3: PEAK}
    same(
        pool.reduce(reductions, VALUES, axis, keepdims),
        {name: pool.reduce(one, VALUES, axis, keepdims) for name, one in reductions.items()},
    )


def test_a_mapping_reduces_several_arrays(store, other):
    pool = MapReduce(np=2)
    reductions = {"mean": WEIGHTED_MEAN, "covered": COVERED}
    weights = np.arange(1.0, 10.0)
    for arrays in ((VALUES, VALUES[::-1]), (VALUES, weights), (store, weights), (store, other)):
        for axis in (None, 1):
            same(
                pool.reduce(reductions, arrays, axis),
                {name: pool.reduce(one, arrays, axis) for name, one in reductions.items()},
            )


@pytest.mark.parametrize("axis", [None, 0, (1, 2)])
def test_arrays_in_files_are_reduced_together(store, other, axis):
    pool = MapReduceByThread(np=2)
    weights = np.arange(1.0, 10.0)
    for reduction in (WEIGHTED_MEAN, COVERED):
        for arrays, (x, w) in (
            ((store, other), (VALUES, VALUES[::-1])),
            ((store, weights), (VALUES, weights)),
            ((weights, store), (weights, VALUES)),
        ):
            store.reads.clear()
            np.testing.assert_allclose(
                pool.reduce(reduction, arrays, axis), pool.reduce(reduction, (x, w), axis), 1e-10
            )
            assert {*store.reads.values()} == {1}


def test_a_mapping_reads_a_file_once(store):
    MapReduceByThread(np=2).reduce({"a": PEAK, "b": MEAN_SQUARE, "c": extrema.minmax("f8")}, store)
    assert {*store.reads.values()} == {1}


def test_small_and_empty_arrays():
    pool = MapReduce(np=2)
    assert pool.reduce(WEIGHTED_MEAN, (np.float64(3.0), np.ones(1))) == 3
    assert pool.reduce({"a": PEAK, "b": MEAN_SQUARE}, 2.0) == {"a": 2, "b": 4}
    pairs = Reduction(weighted_sum, add_pairs, identity=(0.0, 0.0))
    nothing = np.ones((0, 3)), np.ones(3)
    assert pool.reduce({"pair": pairs}, nothing) == {"pair": (0, 0)}
    np.testing.assert_array_equal(pool.reduce(pairs, nothing, axis=0), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="no identity"):
        pool.reduce({"pair": pairs, "lines": COVERED}, nothing)


def test_a_tuple_of_numbers_and_a_list_of_arrays_are_one_array():
    total = Reduction(np.sum, operator.add)
    assert sharedmem.reduce(total, (1.0, np.float64(2))) == 3
    assert sharedmem.reduce(total, [np.ones(3), np.ones(3)]) == 6
    assert sharedmem.reduce(total, (np.ones(3),)) == 3


def test_a_kernel_compiled_for_signatures_takes_several_arrays():
    signature = "float64(float64[::1], int32[::1])"
    dot = Reduction(numba.njit(signature, nogil=True)(lambda x, y: (x * y).sum()), operator.add)
    x, y = np.arange(900.0).reshape(30, 30), np.arange(30, dtype="i4")
    assert MapReduce(np=2).reduce(dot, (x, y)) == (x * y).sum()
    with pytest.raises(TypeError, match="none of which accepts"):
        MapReduce(np=2).reduce(dot, (y, x))


def test_what_does_not_fit_is_refused_before_any_work(store):
    def fail(x):
        raise AssertionError("it was called")

    pool = MapReduce(np=2)
    one = Reduction(fail, max)
    for a in ((VALUES, np.ones(8)), (store, np.ones(8))):
        with pytest.raises(ValueError, match=r"shapes \(40, 30, 9\), \(8,\) cannot be broadcast"):
            pool.reduce(COVERED, a)
    for a in (VALUES, store):
        with pytest.raises(TypeError, match=r"fail\(x\) would be called with 2 arrays"):
            pool.reduce(one, (a, a))
        with pytest.raises(TypeError, match=r"weighted_sum\(x, w\) would be called with 1 array:"):
            pool.reduce(WEIGHTED_MEAN, a)
        with pytest.raises(ValueError, match="axis 3 is out of bounds"):
            pool.reduce({"one": one}, a, axis=3)
        with pytest.raises(TypeError, match="none under 'two'; got the ufunc"):
            pool.reduce({"one": one, "two": np.add}, a)
        with pytest.raises(ValueError, match="is empty"):
            pool.reduce({}, a)
    assert not store.reads
