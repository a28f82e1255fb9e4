"""Maps on a cluster: results, sections, random numbers, and errors."""

import copy
import ctypes
import itertools
import os
import pickle
import threading
import time

import numpy as np
import pytest

import sharedmem
from sharedmem import DaskBackend, MapReduce, WorkerException


def test_results_come_in_order_and_are_reduced_in_the_coordinator(pool):
    seen = []

    def keep(i, square):
        seen.append(i)
        return square

    offset = 5
    assert pool.map(lambda i: i + offset, range(30)) == list(range(5, 35))
    assert pool.map(lambda i: (i, i * i), range(30), keep) == [i * i for i in range(30)]
    assert sorted(seen) == list(range(30))
    assert pool.map(lambda a, b: a * b, [(2, 3), (4, 5)], star=True) == [6, 20]
    assert pool.map(abs, (i for i in (-1, 2)), chunksize=2) == [1, 2]
    assert pool.map(abs, []) == []


def test_a_pool_has_as_many_workers_as_the_cluster_has_threads(pool, backend):
    assert pool.np == 2
    with pytest.raises(ValueError, match="np=3 was given, but a cluster has as many workers"):
        MapReduce(backend, np=3)
    assert MapReduce(backend, np=0).map(abs, [-1]) == [1]
    with pytest.raises(ValueError, match="see the dashboard"):
        MapReduce(backend, trace=True)


def test_an_invalid_client_is_refused():
    with pytest.raises(TypeError, match=r"a distributed\.Client or an address, got 3"):
        DaskBackend(3)


def test_tasks_are_sent_in_claims(pool, client, monkeypatch):
    submitted = []
    submit = client.submit

    def noted(*args, **options):
        submitted.append(args)
        return submit(*args, **options)

    monkeypatch.setattr(client, "submit", noted)
    assert pool.map(lambda i: i % 7, range(100_000)) == [i % 7 for i in range(100_000)]
    assert len(submitted) < 1000


def test_what_a_function_captures_is_pickled_once(pool, client, monkeypatch):
    table = np.arange(300_000.0)
    scattered = []
    scatter = client.scatter

    def noted(data, **options):
        scattered.append(data)
        return scatter(data, **options)

    monkeypatch.setattr(client, "scatter", noted)

    class Table:
        def __getitem__(self, i):
            return table[i]

    one = Table()
    found = pool.map(lambda i, table=table: (table[i], one[i]), range(50), chunksize=1)
    assert found == [(i, i) for i in range(50)]
    assert len(scattered) == 1
    assert table.nbytes <= scattered[0].nbytes < 1.1 * table.nbytes


def test_large_items_and_results_are_sent(pool):
    def double(a):
        return a * 2

    arrays = [np.full(200_000, float(i)) for i in range(6)]
    found = pool.map(double, arrays)
    for i, array in enumerate(found):
        np.testing.assert_array_equal(array, 2.0 * i)
        array += 1  # writable, since it belongs to the caller


def test_results_that_look_like_pickles_are_unchanged(pool):
    makers = [
        lambda i: pickle.dumps([i]),
        lambda i: bytearray(pickle.dumps(i)),
        lambda i: [pickle.dumps(i)],
        lambda i: {"a": np.full(2500, float(i))},
        lambda i: pickle.dumps("x" * 100_000),
        lambda i: i,
    ]

    def make(i):
        return makers[i % 6](i)

    wanted = [make(i) for i in range(60)]
    for found in (pool.map(make, range(60)), list(pool.imap(make, range(60)))):
        assert [type(result) for result in found] == [type(result) for result in wanted]
        assert repr(found) == repr(wanted)


@pytest.mark.parametrize("n", [3, 100_000])
def test_writes_that_would_be_lost_are_refused(pool, n):
    private = np.zeros(n)

    def write(i):
        private[0] = i

    def write_item(item):
        item += 1

    for func, items in ((write, range(2)), (write_item, [private])):
        with pytest.raises(
            WorkerException, match=r"(?s)read-only.*zarr or to an \.npy file"
        ) as got:
            pool.map(func, items)
        assert isinstance(got.value.reason, ValueError)
    assert not private.any()


def test_shared_arrays_are_attached_by_workers_of_this_machine(pool):
    shared = sharedmem.zeros(8)

    def write(i):
        shared[i] = i
        np.asarray(shared)[i] += 1
        return shared[i : i + 1]

    found = pool.map(write, range(8))
    assert shared.tolist() == list(range(1, 9))
    assert [part.tolist() for part in found] == [[i] for i in range(1, 9)]
    assert all(type(part) is np.ndarray for part in found)
    made = pool.map(lambda i: sharedmem.full(3, i), range(3))
    assert [part.tolist() for part in made] == [[i] * 3 for i in range(3)]


def test_rank_and_local_are_per_thread_of_a_worker(backend):
    started = sharedmem.zeros(2)

    def start():
        pool.local.seen = 0
        started[pool.local.rank] += 1

    pool = MapReduce(backend, initializer=start)

    def look(i):
        time.sleep(0.002)
        pool.local.seen += 1
        return pool.local.rank, pool.local.seen

    found = pool.map(look, range(60))
    assert {rank for rank, _ in found} == {0, 1}
    for rank in (0, 1):
        counts = [seen for at, seen in found if at == rank]
        assert sorted(counts) == list(range(1, len(counts) + 1))
    assert started.tolist() == [1, 1]


def test_random_numbers_are_the_same_as_on_one_machine(backend):
    here, there = MapReduce(np=2, seed=7), MapReduce(backend, seed=7)
    for _ in range(2):
        expected = here.map(lambda _: here.rng.random(), range(20))
        assert there.map(lambda _: there.rng.random(), range(20)) == expected


def test_one_task_at_a_time_is_in_a_critical_section(pool):
    total = sharedmem.zeros(1)

    def add(i):
        with pool.critical:
            before = total[0]
            time.sleep(0.002)
            total[0] = before + 1
        return i

    def reduce(i):
        with pool.critical:
            before = total[0]
            time.sleep(0.002)
            total[0] = before + 1

    pool.map(add, range(20), reduce, chunksize=2)
    assert total[0] == 40

    def nested(i):
        with pool.critical, pool.critical:
            pass

    with pytest.raises(WorkerException, match="would wait for itself"):
        pool.map(nested, range(1))


@pytest.mark.parametrize("chunksize", [None, 1, 3])
def test_ordered_runs_in_the_order_of_the_tasks(pool, chunksize):
    turns = sharedmem.full(30, -1, dtype=int)
    n_turns = sharedmem.zeros((), dtype=int)

    def work(i):
        time.sleep(0.004 * (i % 3 == 0))
        if i % 5 == 2:
            return  # skips it
        with pool.ordered:
            turns[n_turns[()]] = i
            n_turns[...] += 1
        time.sleep(0.002 * (i % 2))

    pool.map(work, range(30), chunksize=chunksize)
    assert turns[: n_turns[()]].tolist() == [i for i in range(30) if i % 5 != 2]
    n_turns[...] = 0
    list(pool.imap_unordered(work, iter(range(30)), chunksize=chunksize))
    assert turns[: n_turns[()]].tolist() == [i for i in range(30) if i % 5 != 2]


def test_entering_ordered_twice_is_refused(pool):
    def work(i):
        with pool.ordered:
            pass
        with pool.ordered:
            pass

    with pytest.raises(WorkerException, match="a second time"):
        pool.map(work, range(4))


def test_an_error_in_ordered_does_not_block_other_tasks(pool):
    def work(i):
        if i == 3:
            raise KeyError(i)
        with pool.ordered:
            pass

    for _ in range(3):
        with pytest.raises(WorkerException, match="KeyError"):
            pool.map(work, range(20))


def test_an_error_of_an_earlier_task_leaves_no_event_in_the_scheduler(pool):
    def work(i):
        with pool.ordered:
            pass
        if i == 0:
            time.sleep(0.3)
            raise KeyError(i)

    with pytest.raises(WorkerException, match="KeyError"):
        pool.map(work, range(2))


def test_a_barrier_is_refused(pool):
    with pytest.raises(WorkerException, match="Make two calls of map") as got:
        pool.map(lambda i: pool.barrier(), range(2))
    assert isinstance(got.value.reason, threading.BrokenBarrierError)


def test_exceptions_carry_the_traceback_of_the_worker(pool):
    class SpecialError(Exception):
        pass

    def deeper(i):
        raise SpecialError(f"number {i}")

    with pytest.raises(WorkerException, match="number 2") as got:
        pool.map(lambda i: deeper(i) if i == 2 else i, range(3))
    assert isinstance(got.value.reason, SpecialError)
    assert "Task 2 in worker" in got.value.traceback
    assert "in deeper" in got.value.traceback
    assert pool.map(abs, [-1]) == [1]


def test_functions_and_results_that_cannot_be_pickled(pool):
    lock = threading.Lock()

    def work(i):
        return lock

    with pytest.raises(TypeError, match=r"work cannot be sent to the workers of a cluster: .*lock"):
        pool.map(work, range(2))
    with pytest.raises(WorkerException, match="lock"):
        pool.map(lambda i: threading.Lock(), range(2))

    def fail(i):
        error = ValueError("said so")
        error.lock = threading.Lock()
        raise error

    with (
        pytest.warns(sharedmem.LostExceptionType),
        pytest.raises(WorkerException, match="ValueError: said so"),
    ):
        pool.map(fail, range(1))


def test_a_worker_can_be_stopped(pool):
    def work(i):
        if i % 10 == 3:
            raise sharedmem.StopProcessGroup
        return i

    found = pool.map(work, range(1000), chunksize=10)
    assert found == [i for i in range(found[-1] + 1) if i % 10 != 3]
    assert len(found) < 100


def test_retries_run_a_task_again(backend, client):
    n_tries = sharedmem.zeros(4)

    def flaky(i):
        n_tries[i] += 1
        if n_tries[i] < 3:
            raise OSError("the network is down")
        return i

    with pytest.raises(WorkerException, match="the network is down"):
        MapReduce(backend).map(flaky, range(4))
    n_tries[:] = 0
    assert MapReduce(DaskBackend(client, retries=2)).map(flaky, range(4)) == [0, 1, 2, 3]


def test_imap_is_lazy(pool):
    n_given = 0

    def endless():
        nonlocal n_given
        for i in itertools.count():
            n_given += 1
            yield i

    squares = pool.imap(lambda i: i * i, endless(), chunksize=2)
    assert list(itertools.islice(squares, 5)) == [0, 1, 4, 9, 16]
    time.sleep(0.1)
    assert n_given < 50
    squares.close()
    assert list(pool.imap(lambda a, b: a - b, [(1, 2), (5, 1)], star=True)) == [-1, 4]
    assert sorted(pool.imap_unordered(abs, range(-50, 0))) == list(range(1, 51))


def test_an_error_of_the_iterable_ends_imap(pool):
    def items():
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(pool.imap(abs, items()))


def test_a_time_limit_ends_a_call(backend):
    pool = MapReduce(backend, timeout=0.5)

    def sleep(i):
        time.sleep(0.3)

    with pytest.raises(TimeoutError, match=r"longer than timeout=0\.5 seconds"):
        pool.map(sleep, range(20))
    assert list(pool.imap(lambda i: time.sleep(0.2), range(4))) == [None] * 4


def test_a_time_limit_is_kept_while_reduce_waits_for_critical(backend):
    pool = MapReduce(backend, timeout=1)

    def task(i):
        if i == 1:
            with pool.critical:
                time.sleep(3)
        return i

    def reduce(i):
        with pool.critical:
            return i

    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"longer than timeout=1 seconds"):
        pool.map(task, range(2), reduce, chunksize=1)
    assert time.monotonic() - began < 2.8
    time.sleep(max(0.0, began + 4 - time.monotonic()))  # the task finishes


def test_a_pool_that_does_not_run_the_task_is_refused(pool):
    def work(i):
        with MapReduce().critical:  # like the pool of a module that the worker imports
            pass

    with pytest.raises(WorkerException, match="Either a worker made it"):
        pool.map(work, range(2))


def test_a_pool_in_a_task_is_serial(pool):
    def work(i):
        inner = MapReduce()
        here = threading.get_ident()
        with inner:
            threads = pool.map(lambda _: threading.get_ident(), range(3))
            threads += inner.map(lambda _: threading.get_ident(), range(3))
        return inner.np, pool.np, set(threads) == {here}

    assert pool.map(work, range(2)) == [(0, 2, True)] * 2


def test_a_backend_accepts_an_address(cluster):
    with MapReduce(DaskBackend(cluster.scheduler_address)) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]
    with pool:  # a closed client is made again
        assert pool.map(abs, [-3]) == [3]


def test_progress_is_shown(backend, capsys):
    MapReduce(backend, progress=True).map(abs, range(10))
    assert "10/10" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle"])
def test_a_copied_pool_runs_on_the_cluster(client, how):
    pool = MapReduce(DaskBackend(client, retries=2), seed=5)
    other = pickle.loads(pickle.dumps(pool)) if how == "pickle" else getattr(copy, how)(pool)
    with other:
        assert other.backend.retries == 2
        assert other.backend.client.scheduler.address == client.scheduler.address
        draw = other.map(lambda _: (os.getpid(), other.rng.random()), range(3))
    assert os.getpid() not in [pid for pid, _ in draw]
    serial = MapReduce(np=0, seed=5)
    assert [number for _, number in draw] == serial.map(lambda _: serial.rng.random(), range(3))


def test_labels_of_a_series_are_ignored(pool):
    series = Series([30, 10, 20], [2, 0, 1])
    assert pool.map(abs, series) == list(pool.imap(abs, series)) == [30, 10, 20]


class Series:
    """A sequence indexed by label, like a Series of pandas."""

    def __init__(self, values, labels):
        self.values, self.labels = values, labels

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)

    def __getitem__(self, label):
        return self.values[self.labels.index(label)]


def test_a_consumer_of_imap_and_workers_exclude_each_other(pool):
    count = sharedmem.zeros(1, "i8")

    def step():
        with pool.critical:
            seen = int(count[0])
            time.sleep(0.002)
            count[0] = seen + 1

    results = pool.imap(lambda _: step(), range(10), chunksize=1)
    for _ in results:
        step()
    assert count[0] == 20
    results = pool.imap(abs, range(10), chunksize=1)
    next(results)
    with pool.critical, pytest.raises(RuntimeError, match="leave the block first"):
        next(results)


def test_a_task_that_holds_the_gil_keeps_the_critical_section(pool):
    count = sharedmem.zeros(2, "i8")

    def work(i):
        with pool.critical:
            count[0] += 1
            inside = int(count[0])
            if not count[1]:  # longer than the lease of distributed.Lock lasts here, 2 s
                count[1] = 1
                ctypes.PyDLL(None).sleep(4)
            time.sleep(0.1)
            count[0] -= 1
        return inside

    assert pool.map(work, range(2), chunksize=1) == [1, 1]


def test_a_time_limit_ends_the_wait_of_reduce_for_critical(client):
    pool = MapReduce(DaskBackend(client), timeout=1.5)

    def work(i):
        if i:
            with pool.critical:
                time.sleep(4)
        else:
            time.sleep(0.7)

    def keep(_):
        with pool.critical:
            pass

    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"timeout=1\.5"):
        pool.map(work, range(2), keep, chunksize=1)
    assert time.monotonic() - began < 3.5
