"""joblib with the backend "sharedmem"."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import sharedmem
from interrupts import Strike
from leftovers import children
from sharedmem.workers.private_copies import SharedCopies

joblib = pytest.importorskip("joblib")

import sharedmem.joblib  # noqa: E402

Parallel, delayed = joblib.Parallel, joblib.delayed
LARGE = 1 << 18  # elements of float64: 2 MiB


@pytest.fixture(autouse=True)
def sharedmem_backend():
    with joblib.parallel_config(backend="sharedmem", n_jobs=2):
        yield
    sharedmem.joblib.shutdown()


def pids():
    return set(Parallel(batch_size=1)(delayed(slow_pid)() for _ in range(4)))


def slow_pid():
    time.sleep(0.02)
    return os.getpid()


@given(
    st.lists(st.integers()),
    st.sampled_from(["list", "generator", "generator_unordered"]),
    st.sampled_from(["auto", 1, 3]),
    st.sampled_from(["all", 1, "2*n_jobs"]),
    st.sampled_from([-1, 2, 3]),
)
@pytest.mark.slow
def test_results_are_those_of_a_loop(items, return_as, batch_size, pre_dispatch, n_jobs):
    parallel = Parallel(
        n_jobs, return_as=return_as, batch_size=batch_size, pre_dispatch=pre_dispatch
    )
    found = list(parallel(delayed(lambda i, j: 3 * i + j)(i, j=1) for i in items))
    if return_as == "generator_unordered":
        found, items = sorted(found), sorted(items)
    assert found == [3 * i + 1 for i in items]


def test_tasks_run_in_workers_that_stay_for_the_next_call():
    first = pids()
    assert len(first) == 2
    assert os.getpid() not in first
    assert pids() == first
    assert Parallel(3, batch_size=1)(delayed(os.getpid)() for _ in range(3))
    assert not pids() & first


def test_idle_workers_end_after_a_time():
    before = children()
    with joblib.parallel_config(backend="sharedmem", n_jobs=2, idle_worker_timeout=0.05):
        pids()
    deadline = time.monotonic() + 10
    while children() - before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("n_jobs", [1, None])
def test_one_job_runs_in_the_caller(n_jobs):
    with joblib.parallel_config(n_jobs=None):
        parallel = Parallel(n_jobs, backend="sharedmem")
    assert parallel(delayed(os.getpid)() for _ in range(3)) == [os.getpid()] * 3


def test_numbers_of_jobs():
    def effective(n_jobs):
        return joblib.effective_n_jobs(n_jobs)

    n_cores = joblib.cpu_count()
    assert (effective(-1), effective(-n_cores), effective(-100)) == (n_cores, 1, 1)
    assert (effective(7), effective(None)) == (7, 2)
    with pytest.raises(ValueError, match="n_jobs == 0"):
        effective(0)
    # In a worker, whose siblings use the other cores.
    explicit = "sharedmem"
    assert set(
        Parallel()(
            delayed(lambda: Parallel(-1, backend=explicit)._effective_n_jobs())() for _ in "ab"
        )
    ) == {1}


def test_closures_see_their_variables_as_they_are_at_each_call():
    scale = 2

    def scaled(i):
        return scale * i

    assert Parallel()(delayed(scaled)(i) for i in range(3)) == [0, 2, 4]
    scale = 3
    assert Parallel()(delayed(scaled)(i) for i in range(3)) == [0, 3, 6]


class BadItemError(Exception):
    pass


def fail(i):
    if i == 3:
        raise BadItemError(i)
    if i > 3:
        time.sleep(20)
    return i


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_an_exception_ends_the_call_and_shows_where_it_was_raised(return_as):
    before = children()
    started = time.monotonic()
    with pytest.raises(BadItemError, match="3") as caught:
        list(Parallel(batch_size=1, return_as=return_as)(delayed(fail)(i) for i in range(9)))
    assert time.monotonic() - started < 10
    report = "".join(traceback.format_exception(caught.value))
    assert "in fail" in report
    assert "raise BadItemError(i)" in report
    del caught
    assert not children() - before
    assert Parallel()(delayed(fail)(i) for i in range(3)) == [0, 1, 2]


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_a_timeout_ends_the_workers(return_as):
    before = children()
    with pytest.raises(multiprocessing.TimeoutError):
        list(Parallel(timeout=0.1, return_as=return_as)(delayed(time.sleep)(20) for _ in "abc"))
    assert not children() - before


def test_a_generator_that_is_dropped_ends_its_workers():
    before = children()
    results = Parallel(return_as="generator")(delayed(time.sleep)(20 * i) for i in range(9))
    next(results)
    with pytest.warns(UserWarning, match="cancelled"):
        del results
    assert not children() - before


def test_calls_at_the_same_time_have_workers_of_their_own():
    def square(i):
        time.sleep(0.005)
        return i * i

    one, other = (
        Parallel(return_as="generator")(delayed(square)(i) for i in range(9)) for _ in "ab"
    )
    squares = [i * i for i in range(9)]
    assert list(zip(one, other, strict=True)) == list(zip(squares, squares, strict=True))


def test_calls_of_several_threads():
    found = {}

    def call(number):
        with joblib.parallel_config(backend="sharedmem", n_jobs=2):
            found[number] = Parallel()(delayed(pow)(i, number) for i in range(20))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [i**number for i in range(20)] for number in range(3)}


def test_an_error_of_the_iterable_is_raised():
    def calls():
        yield delayed(abs)(1)
        raise KeyError("calls")

    with pytest.raises(KeyError, match="calls"):
        Parallel()(calls())


def test_what_cannot_be_pickled_is_an_error_and_the_workers_stay():
    with pytest.raises(TypeError, match="pickle"):
        Parallel()(delayed(abs)(threading.Lock()) for _ in "ab")
    with pytest.raises(TypeError, match="pickle"):
        Parallel()(delayed(threading.Lock)() for _ in "ab")


# Arrays


def test_a_task_may_write_to_its_copy_of_a_large_argument():
    large = np.zeros(LARGE)

    def change(array, i):
        first = array[0]
        array += i
        return first, array[-1], array.flags.writeable

    found = Parallel(batch_size=1)(delayed(change)(large, i) for i in range(4))
    assert found == [(0, i, True) for i in range(4)]
    assert not large.any()


def test_large_arrays_arrive_at_any_depth_and_in_any_layout():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(600, 500))
    arrays = [base, base.T, np.asfortranarray(base), base[::2, ::3], base[::-1], base.astype(">f4")]
    records = np.zeros(LARGE, "i4,f8")

    def describe(holder):
        array = holder["array"]
        return array.dtype, array.shape, array.tobytes()

    for array in [*arrays, records]:
        (found,) = Parallel()([delayed(describe)({"array": array})])
        assert found == (array.dtype, array.shape, array.tobytes())


def test_a_large_argument_is_copied_once_per_call():
    large = np.ones(LARGE)

    def segments(array):
        segment = r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) +/memfd:"
        found = re.findall(segment, Path("/proc/self/maps").read_text())
        return {inode for low, high, inode in found if int(high, 16) - int(low, 16) >= array.nbytes}

    found = Parallel(batch_size=1)(delayed(segments)(large) for _ in range(6))
    assert len(set.union(*found)) == 1
    large[:] = 2
    assert Parallel(batch_size=1)(delayed(np.min)(large) for _ in range(3)) == [2] * 3


def test_shared_arrays_are_passed_by_reference():
    out = sharedmem.zeros(8)

    def write(out, i):
        out[i] = i

    Parallel()(delayed(write)(out, i) for i in range(8))
    Parallel()([delayed(lambda: out.__setitem__(0, 9))()])
    assert out.tolist() == [9, 1, 2, 3, 4, 5, 6, 7]
    (returned,) = Parallel()([delayed(lambda: out[2:])()])
    assert sharedmem.is_shared(returned)


def test_a_plain_view_of_a_shared_array_is_not_copied():
    shared = sharedmem.zeros(LARGE)

    def change(array):
        array += 1
        return array.sum(), sharedmem.is_shared(array)

    assert (
        Parallel(batch_size=1)(delayed(change)(np.asarray(shared)) for _ in range(2))
        == [(LARGE, False)] * 2
    )
    assert not shared.any()
    copies = SharedCopies()
    assert copies.reduce(np.asarray(shared)) is not NotImplemented
    assert not copies._copies


def test_mapped_files_are_passed_by_name(tmp_path):
    out = np.memmap(tmp_path / "out", "f8", "w+", shape=(4, 3))

    def write(row, i):
        row[:] = i

    Parallel()(delayed(write)(out[i], i) for i in range(4))
    assert out.tolist() == [[i] * 3 for i in range(4)]


def test_large_results_are_writable():
    for found in Parallel()(delayed(np.full)(LARGE, i) for i in range(3)):
        found += 1
        assert found.min() == found.max()


# Nested calls, and threads


def test_inner_calls_run_in_threads_of_the_worker():
    def inner():
        return set(Parallel(2)(delayed(os.getpid)() for _ in range(4))), os.getpid()

    for inner_pids, pid in Parallel()(delayed(inner)() for _ in range(3)):
        assert inner_pids == {pid}


def test_inner_calls_may_have_workers_of_their_own():
    def inner():
        return Parallel(2, backend="sharedmem")(delayed(slow_pid)() for _ in range(4))

    found = Parallel()(delayed(inner)() for _ in range(2))
    assert not {*found[0], *found[1]} & {*pids(), os.getpid()}


def test_calls_below_threads_are_serial_with_a_warning():
    def inner():
        with pytest.warns(UserWarning, match="nested below threads"):
            return Parallel(2, backend="sharedmem")(delayed(os.getpid)() for _ in range(2))

    found = Parallel(2, backend="threading")(delayed(inner)() for _ in range(1))
    assert found == [[os.getpid()] * 2]


@pytest.mark.parametrize("n_threads", [None, 1, 2])
def test_threads_of_blas_in_workers(n_threads):
    from threadpoolctl import threadpool_info

    def n_blas_threads():
        return {info["num_threads"] for info in threadpool_info()}

    most = max(n_blas_threads())
    with joblib.parallel_config("sharedmem", n_jobs=2, inner_max_num_threads=n_threads):
        (found,) = Parallel()([delayed(n_blas_threads)()])
    assert found <= {min(most, n_threads or max(joblib.cpu_count() // 2, 1)), n_threads}


@pytest.mark.slow
def test_workers_may_be_fresh_interpreters():
    with joblib.parallel_config("sharedmem", n_jobs=2, workers=sharedmem.SpawnBackend):
        assert Parallel()(delayed(lambda i: i * i)(i) for i in range(3)) == [0, 1, 4]


def test_initializers():
    values = sharedmem.zeros(2)

    def start(values):
        values += 1

    with joblib.parallel_config("sharedmem", n_jobs=2, initializer=start, initargs=(values,)):
        pids(), pids()
    assert values.tolist() == [2, 2]


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="colour"):
        Parallel(colour=1)(delayed(abs)(i) for i in range(2))


# scikit-learn


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 4))
    return x, (x[:, 0] + rng.normal(size=60) > 0).astype(int)


@pytest.mark.slow
def test_scikit_learn_gets_the_results_of_a_serial_run(data):
    pytest.importorskip("sklearn")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV, cross_val_score

    forest = RandomForestClassifier(5, max_depth=3, random_state=1, n_jobs=2)

    def run():
        search = GridSearchCV(forest, {"max_depth": [1, 2]}, cv=2, n_jobs=2).fit(*data)
        scores = search.cv_results_["mean_test_score"]
        fitted = forest.fit(*data)
        return [
            fitted.predict_proba(data[0]),
            scores,
            cross_val_score(forest, *data, cv=3, n_jobs=2),
            cross_val_score(search, *data, cv=2, n_jobs=2),
        ]

    parallel = run()
    with joblib.parallel_config("sequential"):
        serial = run()
    for found, expected in zip(parallel, serial, strict=True):
        # The threads of a forest add up its trees in any order.
        np.testing.assert_allclose(found, expected, rtol=1e-12)


# Faults


def test_a_killed_worker_ends_the_call_only():
    before = children()

    def kill(i):
        if i == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(sharedmem.DeadWorkerError, match=r"SIGKILL.*kill"):
        Parallel(batch_size=1)(delayed(kill)(i) for i in range(9))
    assert not children() - before
    assert Parallel()(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


def test_a_worker_that_is_killed_between_calls_is_replaced():
    for pid in pids():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.05)
    assert len(pids()) == 2


def test_an_interrupt_ends_the_workers():
    before = children()

    def calls():
        for _ in range(9):
            yield delayed(time.sleep)(20)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Parallel(pre_dispatch="all", batch_size=1)(calls())
    assert not children() - before
    assert Parallel()(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


@pytest.mark.parametrize("at", [10, 100, 300, 600, 1000, 2000, 4000])
def test_an_interrupt_at_any_moment_leaves_a_working_backend(at):
    try:
        with Strike(at):
            Parallel()(delayed(abs)(-i) for i in range(20))
    except KeyboardInterrupt:
        pass
    assert Parallel()(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


def test_a_fork_of_the_coordinator_has_workers_of_its_own():
    mine = pids()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            theirs = pids()
            code = int(bool(theirs & mine) or len(theirs) != 2)
            sharedmem.joblib.shutdown()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert pids() == mine


EXITS = """
import os, sys, time, joblib, sharedmem.joblib
with joblib.parallel_config(backend="sharedmem", n_jobs=2):
    print(*{*joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(8))}, flush=True)
    results = joblib.Parallel(return_as="generator")(
        joblib.delayed(time.sleep)(0.4 * i) for i in range(4)
    )
    next(results)
    END
"""


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "os._exit(4)", "os.kill(os.getpid(), 9)"])
@pytest.mark.slow
def test_no_worker_outlives_its_program(end):
    program = [sys.executable, "-W", "ignore", "-c", EXITS.replace("END", end)]
    started = time.monotonic()
    done = subprocess.run(program, capture_output=True, text=True, timeout=30)
    assert time.monotonic() - started < 15
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in done.stdout.split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
