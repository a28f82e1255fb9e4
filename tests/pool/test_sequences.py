"""Sequences of all kinds: map and imap use the items that iteration yields."""

from __future__ import annotations

import array
import collections
import enum
import typing

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem import MapReduce, ProcessBackend, ThreadBackend


class Labeled:
    """A sequence indexed by label and iterated by position, like a Series of pandas."""

    def __init__(self, values, labels):
        self.values, self.labels = list(values), list(labels)

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)

    def __getitem__(self, label):
        return self.values[self.labels.index(label)]


class Table:
    """A table indexed by column names, over which it iterates, like a DataFrame of pandas."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __iter__(self):
        return iter(self.columns)

    def __getitem__(self, name):
        return self.columns[name]


class Indexed:
    """A sequence with `__len__` and `__getitem__` only, as in programs for version 0.3."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not 0 <= index < self.n:
            raise IndexError(index)
        return index * index


class Endless(Indexed):
    """A sequence that raises no IndexError at its end, like data sets of PyTorch."""

    def __getitem__(self, index):
        return index * index


class OnlyGetItem:
    def __getitem__(self, index):
        return "abc"[index]


class FromOne(list):
    """A list that is indexed from 1."""

    def __getitem__(self, index):
        return super().__getitem__(index - 1)


class Square(collections.abc.Sequence):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return range(self.n)[index] ** 2


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def rows():
    """Return namedtuples of a local class, as DataFrame.itertuples does."""
    row = collections.namedtuple("Pandas", "Index x")
    return map(row, "abc", range(3))


SEQUENCES = {
    "list": lambda: [3, 1, 2],
    "tuple": lambda: (3, 1, 2),
    "range": lambda: range(7, 0, -3),
    "str": lambda: "abc",
    "bytes": lambda: b"abc",
    "array of the standard library": lambda: array.array("d", [1.5, 2.5]),
    "memoryview": lambda: memoryview(b"abc"),
    "deque": lambda: collections.deque([3, 1, 2]),
    "set": lambda: {3, 1, 2},
    "keys": lambda: {"a": 1, "b": 2}.keys(),
    "items": lambda: {"a": 1, "b": 2}.items(),
    "iterator": lambda: iter([3, 1, 2]),
    "generator": lambda: (i * i for i in range(3)),
    "ndarray": lambda: np.arange(6).reshape(3, 2),
    "strided array": lambda: np.arange(6)[::-2],
    "masked array": lambda: np.ma.array([1, 2, 3], mask=[0, 1, 0]),
    "flat iterator": lambda: np.arange(6).reshape(3, 2).flat,
    "shared array": lambda: sharedmem.copy(np.arange(3.0)),
    "chunks": lambda: sharedmem.chunks((10,), n=3),
    "series": lambda: Labeled([10, 20, 30], [2, 0, 1]),
    "filtered series": lambda: Labeled([20, 30], [4, 7]),
    "table": lambda: Table(a=[1, 2], b=[3, 4], c=[5, 6]),
    "itertuples": rows,
    "only indices": lambda: Indexed(4),
    "only __getitem__": OnlyGetItem,
    "list from one": lambda: FromOne([3, 1, 2]),
    "abstract sequence": lambda: Square(4),
    "enum": lambda: Color,
    "empty": list,
    "empty series": lambda: Labeled([], []),
}
POOLS = [(ProcessBackend, 0), (ProcessBackend, 2), (ThreadBackend, 2)]


def seen(item):
    """Return the type and text of an item, which can be compared."""
    return type(item).__name__, str(item)


@pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES)
def test_map_and_imap_agree_with_iterating(make):
    expected = [seen(item) for item in make()]
    for backend, n in POOLS:
        pool = MapReduce(backend, np=n)
        assert pool.map(seen, make()) == expected
        assert list(pool.imap(seen, make())) == expected
        assert sorted(pool.imap_unordered(seen, make())) == sorted(expected)


@pytest.mark.parametrize("n", [0, 2])
def test_a_sequence_without_iter_is_read_up_to_its_length(n):
    assert MapReduce(np=n).map(int, Endless(4)) == [0, 1, 4, 9]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(), st.integers(0, 9)), max_size=9))
def test_labels_of_a_series_are_ignored(pairs):
    values, labels = zip(*pairs, strict=True) if pairs else ((), ())
    assert MapReduce(np=2).map(int, Labeled(values, labels)) == list(values)


def test_workers_read_rows_of_a_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["x"] = np.arange(6).reshape(3, 2)
        assert MapReduce(np=2).map(np.sum, file["x"]) == [1, 5, 9]


@pytest.mark.parametrize("n", [0, 2])
def test_an_argument_that_is_not_iterable_is_refused(n):
    pool = MapReduce(np=n)
    for nothing in (3, None, np.array(3), len):
        with pytest.raises(TypeError, match="map needs a sequence or something to iterate over"):
            pool.map(abs, nothing)
        with pytest.raises(TypeError, match="imap needs something to iterate over"):
            pool.imap(abs, nothing)


def test_namedtuples_of_local_classes_are_sent_and_returned():
    for backend, n in POOLS:
        pool = MapReduce(backend, np=n)
        for call in (pool.map, pool.imap):
            results = list(call(lambda row: row, rows()))
            assert results == list(rows())
            assert [(type(row).__name__, row.x) for row in results] == [
                ("Pandas", 0),
                ("Pandas", 1),
                ("Pandas", 2),
            ]


def test_namedtuples_with_methods_of_local_classes_are_refused():
    class Point(typing.NamedTuple):
        x: int

        def norm(self):
            return abs(self.x)

    with pytest.raises(Exception, match="pickle") as caught:
        list(MapReduce(np=1).imap(lambda point: point.norm(), [Point(-1)]))
    assert "use map, whose workers inherit the items" in " ".join(caught.value.__notes__)


@pytest.mark.parametrize("n", [0, 2])
def test_a_number_for_star_is_refused_with_a_hint_at_chunksize(n):
    pool = MapReduce(np=n)
    for call in (
        lambda: pool.imap(abs, [1], 16),
        lambda: pool.imap_unordered(abs, [1], 16),
        lambda: pool.map(abs, [1], None, 1),
    ):
        with pytest.raises(ValueError, match=r"star must be True or False, got .*chunksize=16"):
            call()
    assert pool.map(divmod, [(7, 2)], star=np.True_) == [(3, 1)]


@pytest.mark.parametrize("name", ["progress", "trace"])
def test_flags_of_a_pool_must_be_bools(name):
    with pytest.raises(ValueError, match=f"{name} must be True or False.* got 4"):
        MapReduce(**{name: 4})
