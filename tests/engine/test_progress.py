"""Progress: steps that move, a label, a function that is called, and nothing where it is nested."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import time
import types
import warnings

import numba
import numpy as np
import pytest

import sharedmem
from interrupts import Strike
from sharedmem import MapReduce, ProcessBackend, Reduction, ThreadBackend, WorkerException
from sharedmem.engine.whole_arrays import _ELEMENTS
from sharedmem.kernels.loops import chains, lines
from sharedmem.pool import caller_threads

TEAMS = [(ProcessBackend, 2), (ThreadBackend, 2), (ProcessBackend, 0)]
N = 1 << 17


@numba.njit(nogil=True)
def clear(a):
    a[:] = 0


class Reports(list):
    """The reports of a call, which are checked as they come."""

    def __call__(self, done, total):
        assert threading.current_thread() is threading.main_thread()
        assert not self or (done > self[-1][0])
        assert total is None or done <= total
        self.append((done, total))


@pytest.fixture
def reports():
    return Reports()


@pytest.fixture(params=TEAMS, ids=lambda team: f"{team[0].__name__}-{team[1]}")
def pool(request, reports, tuned):
    tuned(thread_bytes=1 << 14, chunk_bytes=1 << 15, scan_chunk_bytes=1 << 14)
    backend, n = request.param
    return MapReduce(backend, np=n, progress=reports)


def test_each_task_of_a_map_is_a_step(pool, reports):
    assert pool.map(abs, range(50)) == [*range(50)]
    assert reports[-1] == (50, 50)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_steps_of_imap_are_the_results_taken(pool, reports, method):
    results = getattr(pool, method)(abs, range(5))
    assert not reports
    for n in range(1, 6):
        next(results)
        assert reports[-1] == (n, 5)
    assert [*getattr(pool, method)(abs, iter(range(0)))] == []
    reports.clear()
    assert len([*getattr(pool, method)(abs, (i for i in range(3)))]) == 3
    assert reports == [(1, None), (2, None), (3, None)]


A = np.random.default_rng(0).normal(size=N)
CALLS = {
    "sum": lambda: sharedmem.sum(A),
    "mean of columns": lambda: sharedmem.mean(A.reshape(-1, 4), axis=0),
    "average": lambda: sharedmem.average(A, weights=A),
    "sort": lambda: sharedmem.sort(A),
    "median": lambda: sharedmem.median(A),
    "cumsum": lambda: sharedmem.cumsum(A),
    "cumsum of lines": lambda: sharedmem.cumsum(A.reshape(2, -1), axis=1),
    "unique": lambda: sharedmem.unique(A),
    "evaluate": lambda: sharedmem.evaluate("sum(a * a) + 1", a=A),
    "ufunc": lambda: sharedmem.apply_ufunc(np.sqrt, np.abs(A)),
    "histogram": lambda: sharedmem.histogram(A, 20),
    "groups": lambda: sharedmem.group_reduce(A, (A > 0).astype(int), func="sum"),
    "kernel": lambda: sharedmem.map_chunks(lambda a: a.__iadd__(1), sharedmem.copy(A)),
    "reduction": lambda: sharedmem.reduce(Reduction(np.max, max), A),
    "random": lambda: sharedmem.random.normal(size=N, seed=1),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_array_call_is_one_call_with_the_same_bits(pool, reports, name):
    expected = CALLS[name]()
    with pool:
        found = CALLS[name]()
    np.testing.assert_equal(found, expected)
    if reports:  # NumPy does some alone
        assert reports[-1][0] == reports[-1][1]
    assert pool.trace is None


def test_chunks_of_a_file_are_counted_together(pool, reports, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("a", data=A, chunks=(1 << 12,))
        expected = sharedmem.sum(A)
        with pool:
            assert sharedmem.sum(stored) == expected
    totals = {total for _, total in reports}
    assert reports[-1] == (max(totals), max(totals))
    assert len(totals) == 1
    assert len(reports) > 1


def test_a_small_call_shows_no_bar(capsys):
    with MapReduce(np=2, progress=True):
        sharedmem.sum(np.ones(100))
        sharedmem.sum(np.ones(100_000))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("n", [0, 2])
def test_a_bar_has_a_label(capsys, n):
    MapReduce(np=n, progress="frames").map(abs, range(7))
    shown = capsys.readouterr().err
    assert "frames: 100%" in shown
    assert "7/7" in shown


def test_the_bar_of_imap_ends_with_its_iterator(capsys):
    pool = MapReduce(np=2, progress=True)
    results = pool.imap(abs, range(9))
    next(results)
    assert not capsys.readouterr().err.endswith("\n")
    results.close()
    assert capsys.readouterr().err.endswith("\n")
    results = pool.imap(abs, iter(range(9)))
    next(results)
    del results
    assert capsys.readouterr().err.endswith("\n")


def test_a_bar_starts_no_thread(capsys):
    before = threading.enumerate()
    MapReduce(np=2, progress=True).map(abs, range(3))
    assert threading.enumerate() == before


def test_a_notebook_without_widgets_gets_a_plain_bar_and_no_warning(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MapReduce(np=0, progress=True).map(abs, range(3))
    assert "3/3" in capsys.readouterr().err


def test_calls_inside_of_tasks_and_of_reduce_are_not_steps(pool, reports):
    def task(i):
        with pool:
            return sharedmem.sum(A) + sum(pool.map(abs, range(3)))

    def add(value):
        with pool:
            return value + sharedmem.sum(A)

    pool.map(task, range(4), reduce=add)
    assert reports[-1] == (4, 4)
    reports.clear()
    with pool:
        sharedmem.map_chunks(clear, sharedmem.copy(A))
    assert len({total for _, total in reports}) == 1


@pytest.mark.parametrize("name", ["sum", "average", "reduction", "ufunc"])
def test_an_error_of_the_function_ends_the_call(tuned, name):
    tuned(thread_bytes=1 << 14, chunk_bytes=1 << 15)

    def fail(done, total):
        raise ZeroDivisionError

    for pool in (MapReduce(backend, np=n, progress=fail) for backend, n in TEAMS):
        with pytest.raises(ZeroDivisionError), pool:
            CALLS[name]()
        with pytest.raises(ZeroDivisionError):
            pool.map(abs, range(30))
        with pytest.raises(ZeroDivisionError):
            list(pool.imap(abs, range(30)))


def test_an_error_of_a_task_is_raised(reports):
    pool = MapReduce(np=2, progress=reports)
    with pytest.raises(WorkerException):
        pool.map(lambda i: 1 // i, range(3))
    assert MapReduce(np=2, progress=reports) is not None


def test_other_values_are_refused():
    with pytest.raises(ValueError, match=r"the label of a bar, or a function .* got 4"):
        MapReduce(progress=4)


def test_a_kernel_of_one_call_shows_steps_while_it_runs(reports, monkeypatch):
    """The kernel is a stand-in, which claims a task and waits until that is shown."""
    counter = lines.NEXT, lines.N_TASKS
    block = (ctypes.c_int64 * lines.N_WORDS)()
    block[lines.N_TASKS] = 10

    runners = []

    def run(code, address, n_threads):
        runners.append(threading.current_thread())
        if runners[0] is threading.main_thread():  # No other thread came in time.
            return
        for n in range(1, 10):
            block[lines.NEXT] = n
            while not reports or reports[-1][0] < n:
                time.sleep(0.001)

    monkeypatch.setattr(caller_threads.native_threads, "run", run)
    watch = caller_threads.ThreadsWatch(MapReduce(np=2, progress=reports))
    chunk = caller_threads.tuning.chunk_bytes
    watch.share(None, ctypes.addressof(block), 2, counter, 10 * chunk)
    assert reports[-1] == (10, 10)
    if runners[0] is not threading.main_thread():
        assert reports == [(n, 10) for n in range(1, 11)]


def test_a_kernel_stops_soon_if_the_function_fails(monkeypatch):
    block = (ctypes.c_int64 * lines.N_WORDS)()
    block[lines.N_TASKS] = 1 << 40

    def run(code, address, n_threads):
        if threading.current_thread() is threading.main_thread():
            raise ZeroDivisionError
        block[lines.NEXT] = 1 << 39
        while block[lines.NEXT] < block[lines.N_TASKS]:
            time.sleep(0.001)

    def fail(done, total):
        raise ZeroDivisionError

    monkeypatch.setattr(caller_threads, "_LOOK_SECONDS", 1e-3)
    monkeypatch.setattr(caller_threads.native_threads, "run", run)
    watch = caller_threads.ThreadsWatch(MapReduce(np=2, progress=fail))
    with pytest.raises(ZeroDivisionError):
        watch.share(None, ctypes.addressof(block), 2, (lines.NEXT, lines.N_TASKS), 1 << 30)


@pytest.mark.parametrize("name", ["sum", "cumsum", "evaluate"])
def test_the_counters_of_kernels_end_at_their_tasks(name, tuned, monkeypatch):
    tuned(thread_bytes=1 << 14, chunk_bytes=1 << 15, scan_chunk_bytes=1 << 14)
    seen = []

    class Kernel(caller_threads._Kernel):
        def run(self, steps, n_steps):
            n_shown = super().run(steps, n_steps)
            seen.append((self._claimed.value, self._n_tasks))
            return n_shown

    monkeypatch.setattr(caller_threads, "_Kernel", Kernel)
    calls = {
        "sum": lambda: sharedmem.sum(A),
        "cumsum": lambda: sharedmem.cumsum(A),
        "evaluate": lambda: sharedmem.evaluate("sqrt(abs(a))", a=A, out=np.empty(N)),
    }
    with MapReduce(np=2, progress=Reports()):
        calls[name]()
    if name != "evaluate" or seen:
        assert [n_tasks for _, n_tasks in seen if n_tasks > 1]
    assert all(claimed >= n_tasks > 0 for claimed, n_tasks in seen)
    assert {_ELEMENTS, (chains.NEXT, chains.N_CHUNKS)} == {(0, 8), (24, 7)}


@pytest.mark.parametrize("name", ["sum", "map", "imap"])
def test_an_interrupt_at_any_moment_ends_a_shown_call(name, tuned, monkeypatch):
    tuned(thread_bytes=1 << 14, chunk_bytes=1 << 15)
    monkeypatch.setattr(caller_threads, "_LOOK_SECONDS", 1e-4)
    reports = []
    pool = MapReduce(np=0, progress=lambda *report: reports.append(report), trace=True)
    arrays = MapReduce(np=2, progress=lambda *report: reports.append(report), trace=True)

    def call():
        if name == "sum":
            with arrays:
                return sharedmem.sum(A)
        return [*getattr(pool, name)(abs, range(5))]

    expected, strike = call(), Strike(0)
    for at in range(0, 3000, 5):
        strike = Strike(at)
        with contextlib.suppress(KeyboardInterrupt), strike:
            call()
        if strike.n_left >= 0:
            break
    assert strike.n_left >= 0, "the call has more moments than were struck"
    reports.clear()
    assert call() == expected
    assert reports[-1][0] == reports[-1][1]
    traced = arrays if name == "sum" else pool
    assert traced.trace.events[0][-1].name == ("sum" if name == "sum" else "")
