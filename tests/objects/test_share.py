"""Tests of share: what it returns equals what pickle returns, in one segment, by reference."""

import copy
import pickle
import warnings
from collections import defaultdict

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from object_graphs import Model, arrays_of, leaves, nested, reloaded, same
from sharedmem import SharedArray, share
from sharedmem.arrays.shared_array import segment_of
from sharedmem.objects import assembly


class Labeled(np.ndarray):
    """An array with an attribute, which pickle loses and share keeps."""

    label = None

    def __array_finalize__(self, obj):
        self.label = getattr(obj, "label", None)


class Own(np.ndarray):
    def __reduce__(self):
        return Own, ((3,),)


@settings(max_examples=40)
@given(st.recursive(leaves, nested, max_leaves=8), st.booleans())
def test_a_shared_graph_equals_a_pickled_one(graph, readonly):
    shared = share(graph, readonly=readonly)
    assert same(shared, graph)  # pickle is no oracle: it loses the byte order of dates
    again = reloaded(shared)
    assert same(again, graph)
    segments = set()
    for array, loaded, original in zip(*map(arrays_of, (shared, again, graph)), strict=True):
        if array.dtype.hasobject or not array.dtype.itemsize:
            continue
        assert type(array) is type(loaded) is SharedArray
        assert not np.shares_memory(array, original)
        assert array.flags.writeable is loaded.flags.writeable is (not readonly)
        dense = np.empty_like(original, order="K")
        assert array.strides == loaded.strides == dense.strides or array.size < 2
        segments.add(id(segment_of(array)))
        if not readonly and array.size:
            np.asarray(loaded).view(f"V{array.itemsize}")[...] = bytes(array.itemsize)
            assert not any(np.ascontiguousarray(array).tobytes())
    assert len(segments) < 2


def test_identities_are_kept_as_in_a_pickle():
    a = np.arange(5)
    shared = share({"a": a, "again": a, "rows": [[a, a], (a,)], "many": [a] * 70})
    assert shared["a"] is shared["again"] is shared["rows"][0][1] is shared["many"][3]
    loaded = reloaded(shared)
    assert loaded["a"] is loaded["again"] is loaded["rows"][1][0]
    many = [np.arange(3)] * 70
    pair = share((many, many))
    assert pair[0] is pair[1]


def test_recursive_objects():
    model = Model(np.ones(3))
    model.parent = model
    model.notes["all"] = [model]
    shared = share(model)
    assert shared.parent is shared is shared.notes["all"][0]
    loaded = reloaded(shared)
    loaded.weights[0] = 7
    assert loaded.parent is loaded
    assert shared.weights[0] == 7
    assert model.weights[0] == 1


def test_what_has_no_arrays_is_copied():
    for obj in (None, 5, "text", [], {}, {"a": (1, 2)}):
        assert share(obj) == obj


def test_a_view_of_part_of_an_array_shares_only_that():
    large = np.arange(1_000_000.0)
    shared = share(large[5:15])
    assert segment_of(shared).nbytes < 1_000_000
    assert (shared == large[5:15]).all()


def test_another_interpreter_writes_where_all_see_it(elsewhere):
    shared = share({"a": np.zeros(4), "b": (np.zeros((2, 3), order="F"),)})
    elsewhere("x['a'][1] = 5; x['b'][0][:, 2] = 6", shared)
    assert (shared["a"] == [0, 5, 0, 0]).all()
    assert (shared["b"][0][:, 2] == 6).all()
    assert shared["b"][0].flags.f_contiguous


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
@pytest.mark.parametrize("protocol", range(2, 6))
def test_each_pickler_pickles_references(pickler, protocol):
    kinds = [
        np.ones(5000),
        np.ma.array(np.ones(5000), mask=np.arange(5000) % 2),
        np.ones((2, 2500)).view(np.matrix),
        np.rec.fromarrays([np.ones(5000), np.ones(5000)], names="a,b"),
    ]
    shared = share(kinds)
    stream = pickler.dumps(shared, protocol)
    assert len(stream) < 2000
    loaded = pickle.loads(stream)
    loaded[0][3] = loaded[2][0, 3] = 5
    loaded[1][2] = 5
    loaded[3].a[3] = 5
    assert shared[0][3] == shared[1][2] == shared[2][0, 3] == shared[3].a[3] == 5
    assert [*map(type, loaded)] == [*map(type, shared)]


def test_masks_are_shared_too(elsewhere):
    masked = np.ma.array(np.arange(6.0), mask=[1, 0, 0, 0, 0, 0], fill_value=-1, hard_mask=False)
    shared = share(masked)
    assert type(shared) is np.ma.MaskedArray
    assert shared.fill_value == -1
    elsewhere("import numpy as np; x[2] = np.ma.masked; x[3] = 9", shared)
    assert shared.tolist() == [None, 1, None, 9, 4, 5]
    assert masked.tolist() == [None, 1, 2, 3, 4, 5]
    unmasked = reloaded(share(np.ma.array([1, 2])))
    assert unmasked.mask is np.ma.nomask
    assert share(np.ma.masked) is np.ma.masked


MASKED = [
    np.ma.array([1.0, 2.0], mask=[0, 1], fill_value=7),
    np.ma.array([(1, 2.0)], mask=[(0, 1)], dtype=[("a", "i8"), ("b", "f8")]),
    np.ma.array(5, mask=True),
    np.ma.array(np.arange(4), mask=[0, 1, 0, 0], hard_mask=True),
    np.ma.array(np.array(["2020"], "M8[ns]"), mask=[1], fill_value=np.datetime64("2021", "ns")),
    np.ma.array(["a", "bc"], mask=[0, 1]),
    np.ma.array(np.arange(6).reshape(2, 3).T, mask=np.eye(3, 2)),
    np.ma.empty((0, 3)),
]


@pytest.mark.parametrize("masked", MASKED, ids=repr)
def test_masked_arrays(masked):
    shared = share(masked)
    for each in shared, reloaded(shared):
        assert type(each) is np.ma.MaskedArray
        assert (each.dtype, each.shape) == (masked.dtype, masked.shape)
        assert each.tolist() == masked.tolist()
        assert each.fill_value == masked.fill_value
        assert each.hardmask == masked.hardmask
        assert sharedmem.is_shared(each)


def test_records_in_a_list_with_structured_arrays():
    records = np.rec.fromarrays([np.arange(3)], names="a")
    arrays = [records, records.view(np.ndarray), np.zeros(3, [("a", "i8")])]
    for each in share(arrays), reloaded(share(arrays)):
        assert [type(a[0]) for a in each] == [type(a[0]) for a in arrays]


def test_attributes_of_subclasses_are_kept():
    labeled = np.arange(3.0).view(Labeled)
    labeled.label = {"unit": "m"}
    shared = share({"x": labeled})["x"]
    assert type(shared) is Labeled
    assert shared.label == {"unit": "m"}
    loaded = reloaded(shared)
    loaded[0] = 5
    assert shared[0] == 5
    assert loaded.label == {"unit": "m"}
    # Other arrays of the class are pickled as before.
    assert reloaded(labeled)[0] == 0
    assert len(pickle.dumps(np.zeros(500).view(Labeled))) > 4000


def test_a_subclass_with_its_own_pickles_is_refused_by_name():
    with pytest.raises(TypeError, match=r"memory of a .*Own cannot be shared"):
        share([np.ones(3).view(Own)])


def test_tensors_are_refused_by_name():
    tensor = type("Tensor", (), {"__module__": "torch", "__array__": lambda self: np.ones(3)})
    with pytest.raises(TypeError, match=r"memory of a torch\.Tensor cannot be shared"):
        share({"weights": tensor()})


def test_arrays_of_numpy_that_were_shared():
    made = np.array(sharedmem.ones(3), subok=True)
    assert type(share(made)) is SharedArray
    assert type(share(np.asarray(sharedmem.ones(3)))) is SharedArray


def test_what_cannot_be_pickled_is_named():
    with pytest.raises((TypeError, pickle.PicklingError), match="generator"):
        share([np.ones(3), {"rows": (i for i in range(3))}])


MANY = [np.arange(i % 7 + 1) + i for i in range(100)]


def test_a_list_of_many_arrays_is_pickled_by_one_reference(elsewhere):
    shared = share(MANY)
    assert isinstance(shared, list)
    assert same([*shared], MANY)
    assert len(pickle.dumps(shared)) < 500
    elsewhere("x[5][0] = -1; answer = len(x), type(x).__name__", shared)
    assert shared[5][0] == -1
    assert reloaded(reloaded(shared))[5][0] == -1


def test_a_dict_of_many_arrays_is_pickled_by_one_reference():
    shared = share({"layers": {f"w{i}": a for i, a in enumerate(MANY)}})["layers"]
    assert isinstance(shared, dict)
    assert [*shared] == [f"w{i}" for i in range(100)]
    assert len(pickle.dumps(shared)) < 500
    loaded = reloaded(shared)
    loaded["w3"][...] = 0
    assert not shared["w3"].any()


def _other_item(x):
    x[3] = np.zeros(2)


def _other_form(x):
    with warnings.catch_warnings(action="ignore"):
        x[10].shape = (1, *x[10].shape)


CHANGES = {
    "item": _other_item,
    "append": lambda x: x.append(5),
    "delete": lambda x: x.pop(),
    "reverse": lambda x: x.reverse(),
    "sort": lambda x: x.sort(key=len),
    "form": _other_form,
    "flag": lambda x: x[3].setflags(write=False),
    "itself": lambda x: x.append(x),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_list_is_never_pickled_by_its_old_reference(change):
    shared = share(MANY)
    pickle.dumps(shared)
    CHANGES[change](shared)
    loaded = reloaded(shared)
    if change == "itself":
        assert loaded.pop() is loaded
        assert len(loaded) == 100
        return
    assert same(loaded, [*shared])
    flags = [array.flags.writeable for array in shared if isinstance(array, np.ndarray)]
    assert flags == [a.flags.writeable for a in loaded if isinstance(a, np.ndarray)]
    if change != "item":
        loaded[50][0] = -3
        assert shared[50][0] == -3


def test_a_changed_dict_is_never_pickled_by_its_old_reference():
    shared = share(dict(enumerate(MANY)))
    shared[1], shared[2] = shared[2], shared[1]
    assert same(reloaded(shared), dict(shared))
    shared = share(dict(enumerate(MANY)))
    shared[True] = shared.pop(1)
    assert [*map(type, reloaded(shared))] == [*map(type, shared)]


def test_copies_of_groups_are_copies():
    shared = share(MANY)
    shallow, deep = copy.copy(shared), copy.deepcopy(shared)
    assert type(shallow) is type(deep) is list
    assert shallow[3] is shared[3]
    assert not np.shares_memory(deep[3], shared[3])
    table = share(dict(enumerate(MANY)))
    assert copy.copy(table)[3] is table[3]
    assert not np.shares_memory(copy.deepcopy(table)[3], table[3])


def test_workers_see_what_others_write():
    shared = share([np.zeros(3) for _ in range(80)])

    def work(i):
        shared[i][1] = i

    with sharedmem.MapReduce(np=2) as pool:
        pool.map(work, range(80))
    assert [a[1] for a in shared] == [*range(80)]


def test_progress_counts_bytes(tuned):
    tuned(fill_piece_bytes=4096)
    seen = []
    obj = [np.arange(3000.0), np.arange(20.0), np.arange(1000.0).reshape(10, 10, 10).T[::2]]
    shared = share(obj, progress=lambda done, total: seen.append((done, total)))
    assert same(shared, obj)
    totals = {total for _, total in seen}
    assert totals == {sum(a.nbytes for a in obj)} == {seen[-1][0]}
    assert seen == sorted(seen)


def test_too_large_objects_are_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(assembly, "available_memory", lambda: 20_000_000)
    huge = np.broadcast_to(np.zeros(1), (10_000_000,))
    with pytest.raises(MemoryError, match=r"take 80000000 bytes .* only 20000000 bytes"):
        share({"huge": huge})


def test_the_memory_is_freed_with_its_last_array():
    shared = share({"a": np.ones(2_000_000), "b": [np.ones(3)] * 100})
    part = shared["a"][5:]
    loaded = pickle.loads(pickle.dumps(shared["b"]))
    del shared
    assert part[0] == 1
    assert loaded[99][0] == 1


def test_containers_with_defaults():
    shared = share(defaultdict(list, a=[np.ones(2)]))
    assert shared["missing"] == []
    assert type(shared["a"][0]) is SharedArray


class Private:
    """An object that copies its array when it is unpickled."""

    def __init__(self, values):
        self.values = values

    def __getstate__(self):
        return {"values": self.values}

    def __setstate__(self, state):
        self.values = state["values"].copy()


class Stripped(Private):
    """An object that keeps the memory, and forgets that it is a SharedArray."""

    def __setstate__(self, state):
        self.values = np.asarray(state["values"])


@pytest.mark.parametrize("kind", [Private, Stripped])
def test_objects_that_would_travel_by_value_are_refused_by_name(kind):
    with pytest.raises(TypeError, match=rf"{kind.__name__} copies its memory \(80000 bytes\)"):
        share({"model": [kind(np.ones(10_000))]})
    assert share(kind(np.ones(10))).values[0] == 1


def test_sharing_again_makes_a_copy():
    first = share({"list": MANY, "dict": dict(enumerate(MANY)), "a": np.ones(3)})
    second = share(first)
    first["list"][3][...] = first["dict"][4][...] = first["a"][...] = -1
    assert same(second, {"list": MANY, "dict": dict(enumerate(MANY)), "a": np.ones(3)})
    assert len(pickle.dumps(second)) < 1500


def test_is_shared():
    obj = {"a": np.ones(3), "b": [np.ma.array([1, 2], mask=[0, 1])]}
    shared = share(obj)
    assert sharedmem.is_shared(shared)
    assert sharedmem.is_shared(share(MANY))
    assert not sharedmem.is_shared(obj)
    assert not sharedmem.is_shared([shared, np.ones(2)])
    for other in ([], "text", None, (i for i in range(3))):
        assert not sharedmem.is_shared(other)


def test_copy_names_share():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"csr_array is not an array: .* sharedmem\.share\(a\)"):
        sharedmem.copy(sparse.csr_array(np.eye(3)))
