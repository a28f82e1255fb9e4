"""Results and items keep type, value, and order, at each size, on each backend."""

import collections
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem import MapReduce, ProcessBackend, ThreadBackend, WorkerException
from sharedmem.memory import memory_files
from sharedmem.workers import pickling
from sharedmem.workers.batches import Pickled

# Other versions of Python run none and two workers.
POOLS = [
    pytest.param(backend, n, id=f"{backend.__name__}-{n}", marks=[pytest.mark.slow] * (n % 2))
    for backend, n in [
        (ProcessBackend, 0),
        *((b, n) for b in (ProcessBackend, ThreadBackend) for n in (1, 2, 5)),
    ]
]


MAPS = Path("/proc/self/maps")


class Pair(NamedTuple):
    left: object
    right: object


class Numbers(list):
    pass


class Name(str):
    pass


# Makers of results of a given size, for each way in which a result is sent.
KINDS = {
    "none": lambda n: None,
    "int": lambda n: n,
    "large int": lambda n: 1 << n,
    "float": float,
    "numpy scalar": np.float32,
    "record": lambda n: np.array([(n, 0.5)], "i4,f8")[0],
    "str": lambda n: "s" * n,
    "name": lambda n: Name("s" * (n // 8)),
    "bytes": lambda n: b"b" * n,
    "bytes of a pickle": lambda n: pickle.dumps(b"p" * n),
    "pickle that names a file": lambda n: b"\x80\x05cposix\nsystem\n",
    "object of ours": lambda n: pickle.dumps(Pickled(pickle.dumps(n)), 5),
    "ours": lambda n: Pickled(pickle.dumps(n)),
    "bytearray": bytearray,
    "array": lambda n: np.arange(n, dtype="u1"),
    "array of floats": lambda n: np.arange(n // 8 + 1.0),
    "Fortran": lambda n: np.ones((n // 32 + 1, 4), order="F"),
    "strided": lambda n: np.arange(n // 4 + 2.0)[::-2],
    "masked": lambda n: np.ma.array(np.arange(n // 8 + 1.0), mask=np.arange(n // 8 + 1) % 2),
    "array of objects": lambda n: np.array([None, n, "x"], object),
    "array of text": lambda n: np.array(["a", "text"]),
    "no elements": lambda n: np.zeros((0, 3), "M8[s]"),
    "shared": lambda n: sharedmem.full(n // 8 + 1, 3.5),
    "shared view": lambda n: sharedmem.full(n // 8 + 2, 3.5)[::-2],
    "list": lambda n: list(range(n // 8)),
    "numbers": lambda n: Numbers(range(n // 64)),
    "tuple": lambda n: (n, "t" * n, None),
    "pair": lambda n: Pair(np.ones(n // 8), b"x"),
    "dict": lambda n: {"a": n, "b": "x" * n},
    "dict of arrays": lambda n: {"a": np.ones(n // 8 + 1), 1: {"b": np.zeros(n // 16)}},
    "ordered": lambda n: collections.OrderedDict([("z", b"z" * n), ("a", 1)]),
    "nested": lambda n: [[n, (b"x" * (n // 2),)], {"k": [np.ones(n // 16), pickle.dumps(n)]}, {1}],
    "long list": lambda n: [pickle.dumps(k) for k in range(n // 256)],
}
LIMITS = (0, 1024, 32 << 10, 64 << 10, 512 << 10)
SIZES = st.sampled_from(
    [max(0, limit + k) for limit in LIMITS for k in (-200, -1, 0, 1)] + [20_000]
)
VALUES = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS)), SIZES, st.integers(1, 4)), min_size=1, max_size=12
)


def values_of(runs):
    return [KINDS[kind](size) for kind, size, n in runs for _ in range(n)]


def look_of(value):
    """Return what tells a value from all that are not the same."""
    kind = type(value)
    if isinstance(value, np.ma.MaskedArray):
        return kind, look_of(value.filled(0)), look_of(np.ma.getmaskarray(value))
    if isinstance(value, np.ndarray):
        content = value.tolist() if value.dtype.hasobject else value.tobytes()
        return kind, value.dtype, value.shape, value.ndim == 2 and value.flags.f_contiguous, content
    if isinstance(value, dict):
        return kind, [(look_of(key), look_of(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return kind, [look_of(part) for part in value]
    if kind is Pickled:
        return kind, bytes(value.stream)
    return kind, repr(value) if isinstance(value, np.void) else value


@pytest.mark.parametrize(("backend", "n"), POOLS)
@given(runs=VALUES)
@settings(max_examples=6)
def test_results_and_items_keep_type_and_value(backend, n, runs):
    values = values_of(runs)
    wanted = [look_of(value) for value in values]
    pool = MapReduce(backend, np=n, timeout=60)
    assert [look_of(r) for r in pool.map(values.__getitem__, range(len(values)))] == wanted
    assert [look_of(r) for r in pool.map(lambda value: value, values)] == wanted
    assert [look_of(r) for r in pool.imap(lambda value: value, iter(values))] == wanted
    pairs = pool.imap_unordered(lambda i, value: [i, value], enumerate(values), star=True)
    assert [look_of(r) for _, r in sorted(pairs, key=lambda pair: pair[0])] == wanted
    if n == 1:
        assert [look_of(r) for r in pool.imap_unordered(lambda v: v, iter(values))] == wanted


@pytest.mark.parametrize("size", [20_000, 500])
def test_bytes_that_are_a_pickle_are_not_unpickled(size):
    """Batches that are full of results of both sorts."""
    results = MapReduce(np=2).map(
        lambda i: np.full(size // 8, float(i)) if i % 3 else pickle.dumps([i] * (size // 3)),
        range(300),
    )
    for i, result in enumerate(results):
        if i % 3:
            assert type(result) is np.ndarray
            assert (result == i).all()
        else:
            assert result == pickle.dumps([i] * (size // 3))


def test_all_pairs_of_kinds_in_one_batch():
    kinds = sorted(KINDS)
    values = [KINDS[kind](5000) for k in range(len(kinds)) for kind in (*kinds[k:], *kinds[:k])]
    wanted = [look_of(value) for value in values]
    pool = MapReduce(np=1)
    assert [look_of(r) for r in pool.map(values.__getitem__, range(len(values)))] == wanted
    assert [look_of(r) for r in pool.imap(lambda value: value, values)] == wanted


def test_the_error_for_a_memoryview_names_the_task():
    with pytest.raises(WorkerException, match="type memoryview, is pickled") as caught:
        MapReduce(np=2).map(lambda i: memoryview(b"x") if i == 3 else i, range(5))
    assert "Task 3" in str(caught.value)


@pytest.mark.parametrize("size", [1, 200, 2500, 10_000, 100_000])
def test_an_iterator_may_reuse_its_buffer(size):
    def items():
        buffer = np.zeros(size)
        for i in range(60):
            buffer[:] = i
            yield buffer

    pool = MapReduce(np=2)
    assert list(pool.imap(lambda item: float(item[-1]), items())) == list(range(60))
    assert list(pool.imap(lambda item: float(item[0]), items(), chunksize=7)) == list(range(60))


@pytest.mark.parametrize("size", [64 << 10, 200 << 10, 400 << 10])
def test_the_number_of_mapped_results_is_limited(size, monkeypatch):
    monkeypatch.setattr(pickling, "MANY_MAPPINGS", 5)
    before = len(MAPS.read_bytes().splitlines())
    results = MapReduce(np=2).map(lambda i: (np.full(size, i, "u1"), bytes([i]) * size), range(99))
    for i, (array, content) in enumerate(results):
        assert (array == i).all()
        array += 1
        assert content == bytes([i]) * size
    # Freed memory of glibc's is given out again in pieces, mapped or not.
    assert len(MAPS.read_bytes().splitlines()) < before + 60
    assert memory_files.n_mapped() <= (5 if size > pickling.COPIED_BYTES else 0)
    del results, array
    assert memory_files.n_mapped() == 0


def test_a_small_array_of_a_result_does_not_keep_a_large_one_alive():
    results = MapReduce(np=1).map(lambda i: (np.ones(1 << 20), np.ones(10_000)), range(3))
    assert memory_files.n_mapped() == 3
    kept = [small for _, small in results]
    del results
    assert memory_files.n_mapped() == 0
    assert sum(array.sum() for array in kept) == 30_000
