"""The warning about writes of tasks to arrays in private memory, which are lost."""

import functools

import numpy as np
import pytest

import sharedmem

N_TASKS = 10
GLOBAL = np.zeros(N_TASKS)


@pytest.fixture
def pool():
    return sharedmem.MapReduce(np=2)


def write_global(i):
    GLOBAL[i] = i + 1


class Model:
    def __init__(self):
        self.state = np.zeros((N_TASKS, 3), "f4")

    def step(self, i):
        self.state[i] = 1


def make_closure(array):
    def work(i):
        array[i] = i + 1

    return work


def make_chunked(array):
    def work(i):
        array[2 * i : 2 * i + 2] = i + 1

    return work


def write(array, i):
    array[i] = i + 1


WRITERS = {
    "array": make_closure(np.full(N_TASKS, np.nan)),
    "GLOBAL": write_global,
    "state": Model().step,
    "argument 0": functools.partial(write, np.zeros(N_TASKS, "c8")),
    "chunks": make_chunked(np.zeros(2 * N_TASKS)[::-1]),
    "memory order": make_closure(np.zeros((N_TASKS, 2), order="F")),
    "records": make_closure(np.zeros(N_TASKS, "i4,f8")),
}


@pytest.mark.parametrize("name", WRITERS)
def test_writes_to_private_memory_give_a_warning(pool, name):
    with pytest.warns(RuntimeWarning, match=r"private memory.*lost") as caught:
        pool.map(WRITERS[name], range(N_TASKS), chunksize=1)
    assert caught[0].filename == __file__


def test_the_warning_names_the_array(pool):
    with pytest.warns(RuntimeWarning, match="'GLOBAL'"):
        pool.map(write_global, range(N_TASKS), chunksize=1)
    array = np.zeros(N_TASKS)
    with pytest.warns(RuntimeWarning, match="'argument 0'"):
        pool.map(functools.partial(write, array), range(N_TASKS), chunksize=1)


def test_buffers_and_returned_results_give_no_warning(pool):
    own, room, shared, large = (
        np.ones((N_TASKS, 2)),
        np.empty(N_TASKS),
        sharedmem.zeros(N_TASKS),
        np.zeros(200_000),
    )
    read_only = np.arange(N_TASKS)

    def work(i):
        room[:] = read_only + i
        shared[i] = room.sum()
        pool.barrier()

    pool.map(work, range(N_TASKS), chunksize=1)
    assert shared[1] == 55

    def own_row(i):
        row = own[i]
        row *= 2
        return row.sum()

    assert pool.map(own_row, range(N_TASKS), chunksize=1) == [4] * N_TASKS
    pool.map(make_closure(large), range(N_TASKS))  # too large to be checked
    for other in (sharedmem.MapReduceByThread(np=2), sharedmem.MapReduce(np=0)):
        array = np.zeros(N_TASKS)
        other.map(make_closure(array), range(N_TASKS))
        assert array[9] == 10
