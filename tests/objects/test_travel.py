"""Tests of how shared objects travel: by which picklers, in results, and to other machines."""

import multiprocessing.reduction
import pickle

import cloudpickle
import numpy as np
import pytest

import sharedmem
from object_graphs import same
from sharedmem import SharedArray, SharedList, is_shared, share
from sharedmem.cluster import pickling

N = 20_000


def objects():
    return {
        "array": np.arange(N),
        "masked": np.ma.array(np.arange(N), mask=np.arange(N) % 3 == 0),
        "matrix": np.arange(N).reshape(2, -1).view(np.matrix),
        "list": [np.arange(i % 100) for i in range(500)],
        "items": [(np.arange(i % 100), i) for i in range(500)],
    }


def made_shared():
    made = share(objects())
    made["items"] = SharedList(made["items"])
    return made


def check_values(obj):
    obj["items"] = [*obj["items"]]
    masked, expected = obj.pop("masked"), objects()
    assert type(masked) is np.ma.MaskedArray
    assert masked.tolist() == expected.pop("masked").tolist()
    assert type(obj["matrix"]) is np.matrix
    assert same([*obj.values()], [*expected.values()])


@pytest.mark.parametrize(
    "dumps", [pickle.dumps, cloudpickle.dumps, multiprocessing.reduction.ForkingPickler.dumps]
)
def test_each_pickler_makes_references(dumps):
    shared = made_shared()
    stream = bytes(dumps(shared))
    assert len(stream) < 2500
    loaded = pickle.loads(stream)
    check_values(loaded)
    loaded["array"][3] = -1
    assert shared["array"][3] == -1


def test_results_of_tasks():
    with sharedmem.MapReduce(np=2) as pool:
        for made in pool.map(lambda _: share(objects()), range(2)):
            assert is_shared(made)
            check_values(made)


def test_clusters_of_one_machine_send_references():
    shared = made_shared()
    package, _ = pickling.pack(shared, attaches=True)
    assert package.nbytes < 3000
    loaded = package.unpack()
    assert is_shared(loaded)
    check_values(loaded)


def test_other_machines_get_values(monkeypatch):
    shared = made_shared()
    package, _ = pickling.pack(shared, attaches=False)

    def open_segment(key):
        raise ReferenceError("on another machine")

    with monkeypatch.context() as patch:
        patch.setattr(pickling, "open_segment", open_segment)
        stream, *buffers = map(bytes, package.parts)
        loaded = pickle.loads(stream, buffers=buffers)
    assert not is_shared(loaded["array"])
    assert not isinstance(loaded["list"][5], SharedArray)
    check_values(loaded)


def test_results_of_clusters_are_values():
    shared = made_shared()
    loaded = pickling.pack_results(shared).unpack()
    shared["array"][...] = shared["masked"][...] = shared["matrix"][...] = -1
    shared["list"][5][...] = shared["items"][5][0][...] = -1
    check_values(loaded)
