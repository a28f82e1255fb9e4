"""Workers of one node that share large arrays: one copy in memory, and the values of plain Dask."""

import collections
import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from distributed.protocol.serialize import deserialize, serialize

import sharedmem.dask
from sharedmem.cluster import node_arrays

N = 1 << 17  # float64: 1 MiB

ARRAYS = {
    "C": lambda: np.arange(N, dtype="f8"),
    "F": lambda: np.asfortranarray(np.arange(2 * N, dtype="f8").reshape(512, -1)),
    "strided": lambda: np.arange(2 * N, dtype="f8")[::-2],
    "swapped": lambda: np.arange(N, dtype=">f8"),
    "structured": lambda: np.zeros(N, "i4, f8, S4"),
    "dates": lambda: np.arange(N).astype("M8[s]"),
    "broadcast": lambda: np.broadcast_to(np.arange(N, dtype="f8"), (3, N)),
    "shared": lambda: sharedmem.full(N, 2.0),
    "masked": lambda: np.ma.masked_less(np.arange(N, dtype="f8"), 9),
    "objects": lambda: np.array([None, "a"] * N),
    "list": lambda: [np.ones(N), "b"],
}


def read_only():
    array = np.ones(N)
    array.flags.writeable = False
    return array


ARRAYS["read-only"] = read_only


@pytest.fixture
def shares(client):
    client.register_plugin(sharedmem.dask.ShareArrays())
    yield
    client.unregister_worker_plugin("sharedmem")


@pytest.fixture
def workers(cluster, client, shares):
    """Return the addresses of the two workers."""
    return list(client.nthreads())


def on(client, worker, function, *arguments):
    return client.submit(function, *arguments, workers=[worker], pure=False)


def described(x):
    if isinstance(x, list):
        return [described(part) for part in x]
    if not isinstance(x, np.ndarray):
        return x
    flags = x.flags.writeable, x.flags.c_contiguous, x.flags.f_contiguous
    values = x.tolist() if x.dtype.hasobject else x.tobytes()
    return type(x), x.dtype, x.shape, x.strides, flags, values


def segments_of(client, worker):
    """Return the segments that a worker sends in place of values."""

    def identities():
        return {parcel.segment.identity for _, parcel in node_arrays._parcels.values()}

    return client.run(identities, workers=[worker])[worker]


def test_tasks_get_what_plain_dask_gives_them(client, workers):
    made = {name: on(client, workers[0], make) for name, make in ARRAYS.items()}
    found = {name: on(client, workers[1], described, x) for name, x in made.items()}
    for name, make in ARRAYS.items():
        if name == "list":
            expected = described([deserialize(*serialize(part)) for part in make()])
        else:
            expected = described(deserialize(*serialize(make())))
        assert found[name].result() == expected, name


def test_an_array_is_once_in_memory_until_it_is_released(client, workers):
    array = on(client, workers[0], ARRAYS["C"])
    assert on(client, workers[1], np.sum, array).result() == N * (N - 1) / 2
    client.replicate([array])
    (segment,) = segments_of(client, workers[0])
    assert segments_of(client, workers[1]) == {segment}

    def mapped(dask_worker):
        [x] = [x for x in dask_worker.data.values() if isinstance(x, np.ndarray)]
        address = x.__array_interface__["data"][0]
        for line in Path("/proc/self/maps").read_text().splitlines():
            addresses, _, _, _, inode, *_ = line.split()
            start, stop = (int(part, 16) for part in addresses.split("-"))
            if start <= address < stop:
                return int(inode)
        return None

    assert set(client.run(mapped).values()) == {segment[1]}
    del array
    deadline = time.monotonic() + 5
    while any(segments_of(client, worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(segments_of(client, worker) for worker in workers)


def add(x):
    x += 1
    return x


def first(x):
    return float(x[0])


def test_a_write_to_an_input_stays_in_its_worker(client, workers):
    here, there = workers
    array = on(client, here, np.ones, N)
    assert on(client, there, first, array).result() == 1
    changed = on(client, there, add, array)
    assert on(client, here, first, array).result() == 1
    assert on(client, here, first, changed).result() == 2
    again = on(client, here, add, array)
    assert on(client, there, first, again).result() == 2
    assert on(client, here, first, changed).result() == 2


def frame():
    import pandas as pd

    return pd.DataFrame({"a": np.arange(N), "b": np.ones(N)})


def matrix():
    import scipy.sparse

    return scipy.sparse.csr_matrix(np.ones((400, 400)))


@pytest.mark.parametrize("make", [pytest.param(frame, marks=pytest.mark.slow), matrix])
def test_arrays_in_objects_are_shared(client, workers, make):
    made = on(client, workers[0], make)
    here, there = (on(client, worker, lambda x: float(x.sum().sum()), made) for worker in workers)
    assert here.result() == there.result() > 0
    assert len(segments_of(client, workers[0])) == 1


def kill(client, worker):
    client.run(lambda: os.kill(os.getpid(), signal.SIGKILL), workers=[worker], on_error="ignore")
    while worker in client.nthreads():
        time.sleep(0.02)


def test_an_array_outlives_the_worker_that_made_it(client, workers):
    here, there = workers
    array = on(client, here, np.ones, N)
    client.replicate([array])
    (segment,) = segments_of(client, there)
    kill(client, here)
    client.wait_for_workers(2, timeout=30)
    assert array.result().sum() == N
    (new,) = client.nthreads().keys() - {there}
    assert on(client, new, np.sum, array).result() == N
    assert segments_of(client, there) == {segment}


def kill_the_owner_first():
    """Kill, in this worker, the one that has sent a reference, before it is attached."""
    attach, calls = node_arrays.open_segment, itertools.count()

    def attach_late(key):
        if next(calls):  # the first call finds out whether this worker can attach
            node_arrays.open_segment = attach
            os.kill(key.pid, signal.SIGKILL)
            while Path(f"/proc/{key.pid}/fd/{key.fd}").exists():
                time.sleep(0.01)
        return attach(key)

    node_arrays.open_segment = attach_late


def test_an_array_whose_worker_dies_before_it_is_attached_is_computed_again(client, workers):
    here, there = workers
    array = client.submit(np.ones, N, workers=[here], allow_other_workers=True, pure=False)
    assert on(client, here, first, array).result() == 1
    client.run(kill_the_owner_first, workers=[there])
    assert on(client, there, np.sum, array).result(timeout=40) == N
    assert here not in client.nthreads()


def evict(dask_worker):
    while dask_worker.data.memory:
        assert dask_worker.data.evict() > 0


def test_results_on_disk_are_complete(client, workers):
    here, there = workers
    array = on(client, here, np.ones, N)
    client.replicate([array])
    client.run(evict)
    assert not segments_of(client, here)
    assert not segments_of(client, there)
    assert [on(client, worker, np.sum, array).result() for worker in workers] == [N, N]


def share_much():
    """Return an object that Dask pickles, and whose arrays are shared."""
    values = [np.full(i, float(i)) for i in range(400)]
    return collections.OrderedDict(many=sharedmem.share(values), list=sharedmem.SharedList(values))


def total(x):
    return [float(sum(part.sum() for part in parts)) for parts in x.values()]


def test_shared_objects_go_to_disk_and_to_clients_by_value(client, workers):
    shared = on(client, workers[0], share_much)
    expected = on(client, workers[0], total, shared).result()
    assert expected[0] == expected[1] == sum(i * i for i in range(400))
    client.run(evict)
    found = [on(client, worker, total, shared).result() for worker in workers]
    assert found == [expected, expected]
    assert total(shared.result()) == expected


def test_shared_lists_are_results_of_a_map(pool):
    (found,) = pool.map(lambda i: share_much(), range(1))
    assert total(found) == [sum(i * i for i in range(400))] * 2
    found["many"][0] = 1  # it is a list that the caller owns


def test_a_worker_that_cannot_attach_gets_copies(client, workers):
    here, there = workers

    def refuse():
        def refused(key):
            raise PermissionError("refused by a test")

        node_arrays.open_segment, plain = refused, node_arrays.open_segment
        return plain

    def allow(plain):
        node_arrays.open_segment = plain

    plain = client.run(refuse, workers=[there])[there]
    array = on(client, here, np.ones, N)
    assert on(client, there, np.sum, array).result() == N
    client.run(allow, plain, workers=[there])
