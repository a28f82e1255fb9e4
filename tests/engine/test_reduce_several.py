"""Several reductions at once, and reductions of several arrays."""

from collections import Counter

import h5py
import numpy as np
import pytest

from sharedmem import MapReduce
from sharedmem.engine.reduce import Request
from sharedmem.engine.reduce_stored import reduce_store, reduce_stores
from sharedmem.engine.regions import Derived
from sharedmem.kernels import counts, extrema, sums, variances

CHUNK_BYTES = 1 << 12

VALUES = np.random.default_rng(0).normal(size=(40, 30, 9))


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
        alone = reduce_store(stream_of(pool, store), *request)
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
