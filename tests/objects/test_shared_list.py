"""Tests of SharedList: items equal the originals, in one segment, and are made one by one."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from object_graphs import arrays_of, leaves, nested, reloaded, same
from sharedmem import SharedArray, SharedList, share
from sharedmem.arrays.shared_array import segment_of

ITEMS = [np.arange(i + 1) for i in range(20)]


@settings(max_examples=30)
@given(st.lists(st.recursive(leaves, nested, max_leaves=4), max_size=4), st.data())
def test_items_equal_the_originals(items, data):
    shared = SharedList(iter(items))
    key = data.draw(st.slices(len(items)))
    segments = set()
    for each in shared, reloaded(shared):
        assert same([*each], items)
        assert same([*each[key]], items[key])
        assert same([each[-1 - i] for i in range(len(items))], items[::-1])
        segments |= {id(segment_of(a)) for a in arrays_of([*each]) if type(a) is SharedArray}
    assert len(segments) < 2


def test_another_interpreter_gets_it_by_reference(elsewhere):
    shared = SharedList(ITEMS)
    assert len(pickle.dumps(shared)) < 600
    part = shared[5:10]
    answer = elsewhere("x[2][0] = -1; x[3] += 10; answer = len(x), x[4].tolist()", part)
    assert answer == (5, [*range(10)])
    assert shared[7].tolist() == [-1, *range(1, 8)]
    assert shared[8].tolist() == [*range(10, 19)]


def test_only_what_is_indexed_is_made():
    class Counted:
        n_made = 0

        def __reduce__(self):
            return made, ()

    def made():
        Counted.n_made += 1
        return Counted()

    globals().update(Counted=Counted, made=made)
    Counted.__qualname__, made.__qualname__ = "Counted", "made"
    shared = SharedList([Counted(), Counted()])
    assert Counted.n_made == 0
    _ = shared[1], shared[1:]
    assert Counted.n_made == 1


def test_items_cannot_be_replaced():
    shared = SharedList([np.arange(3), (np.arange(3), "a"), 5])
    shared[0] += 1
    assert shared[0].tolist() == [1, 2, 3]
    shared[1][0][...] += 1
    assert shared[1][0].tolist() == [1, 2, 3]
    with pytest.raises(TypeError, match=r"write to it by x\[0\]\[\.\.\.\] = value"):
        shared[0] = np.arange(3)
    with pytest.raises(TypeError, match=r"write to it by"):
        shared[0] = shared[0][:2]
    with pytest.raises(TypeError, match=r"item 2 of a SharedList, a int, cannot be replaced"):
        shared[2] += 1
    with pytest.raises(IndexError, match="item 3 is not in this SharedList of 3 items"):
        shared[3]


def test_the_same_array_twice_has_the_same_memory():
    a = np.zeros(3)
    shared = SharedList([a, {"a": a}, np.zeros(3)])
    shared[0][0] = 1
    assert shared[1]["a"][0] == 1
    assert shared[2][0] == 0


def test_copies():
    shared = SharedList(ITEMS)
    deep, again, shallow = copy.deepcopy(shared), share({"x": shared})["x"], copy.copy(shared)
    shared[3][0] = -5
    assert deep[3][0] == again[3][0] == 0
    assert shallow[3][0] == -5
    assert type(deep) is type(again) is SharedList
    assert sharedmem.is_shared(again)


def test_workers_index_it():
    shared = SharedList((np.full(3, i), f"item {i}") for i in range(50))
    with sharedmem.MapReduce(np=2) as pool:
        names = pool.map(lambda i: shared[i][1], range(50))
        sums = pool.map(lambda item: int(item[0].sum()), shared)
    assert names == [f"item {i}" for i in range(50)]
    assert sums == [3 * i for i in range(50)]


def test_what_cannot_be_pickled_is_named():
    with pytest.raises((TypeError, pickle.PicklingError), match="generator"):
        SharedList([1, (i for i in range(3))])
    assert repr(SharedList([])).startswith("<SharedList of 0 items")
