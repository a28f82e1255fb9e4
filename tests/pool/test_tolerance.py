"""Errors as results, retries, and time limits of tasks."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from interrupts import Strike
from leftovers import children
from sharedmem import (
    DeadWorkerError,
    LostExceptionType,
    MapReduce,
    ProcessBackend,
    StopProcessGroup,
    ThreadBackend,
    WorkerException,
)

pytestmark = pytest.mark.slow
# `make soak` has more.
N_SEEDS = int(os.environ.get("SHAREDMEM_TEST_SEEDS", "1"))


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def calls(pool, **options):
    """Return the calls of a pool, with options, by which tasks can be run."""
    return [
        lambda work, n, **more: pool.map(work, range(n), **options, **more),
        lambda work, n, **more: list(pool.imap(work, range(n), **options, **more)),
        lambda work, n, **more: in_order(pool.imap_unordered(work, range(n), **options, **more), n),
    ]


def in_order(results, n):
    """Return results that are their task's number, or a failure that names it, in order."""
    placed = [None] * n
    for result in results:
        if isinstance(result, WorkerException):
            text = f"{result.reason} {result.traceback}".lower()
            placed[int(text.partition("task ")[2].split()[0].strip(",:."))] = result
        else:
            placed[result] = result
    return placed


def reasons(results):
    """Return results, with the types of the reasons of errors in place of these."""
    return [type(r.reason) if isinstance(r, WorkerException) else r for r in results]


@pytest.fixture(params=[(1, False), (2, False), (5, False), (2, True)])
def workers(request):
    n_workers, persistent = request.param
    with MapReduce(np=n_workers, persistent=persistent) as pool:
        yield pool


def test_an_error_stands_at_the_place_of_its_result(pool):
    def work(i):
        if i % 3 == 1:
            raise ValueError(i)
        return i

    expected = [ValueError if i % 3 == 1 else i for i in range(10)]
    for call in calls(pool, return_exceptions=True):
        results = call(work, 10)
        assert reasons(results) == expected
        assert results[4].reason.args == (4,)
        assert "test_tolerance.py" in results[4].traceback


def test_neither_reduce_nor_callback_meets_an_error(pool):
    def work(i):
        return i // (i - 2), i

    seen = []

    def reduce(*values):
        seen.append(values)
        return values[1]

    called = []
    options = {"reduce": reduce, "callback": called.append}
    results = pool.map(work, range(4), return_exceptions=True, **options)
    assert reasons(results) == [0, 1, ZeroDivisionError, 3]
    assert sorted(seen) == [(-1, 1), (0, 0), (3, 3)]
    assert sorted(called) == [0, 1, 3]


def test_an_exception_that_is_returned_is_a_result(pool):
    error = WorkerException(ValueError("mine"))
    (result,) = pool.map(lambda i: error, range(1), reduce=type, return_exceptions=True)
    assert result is WorkerException


@pytest.mark.parametrize(("end", "chunksize"), [(die, None), (lambda: os._exit(3), 4)])
def test_a_death_costs_one_task(workers, end, chunksize):
    def work(i):
        if i in (0, 5, 6, 11):
            end()
        return i

    expected = [DeadWorkerError if i in (0, 5, 6, 11) else i for i in range(12)]
    for call in calls(workers, return_exceptions=True):
        assert reasons(call(work, 12, chunksize=chunksize)) == expected


def test_each_task_may_die(workers):
    for call in calls(workers, return_exceptions=True):
        results = call(die, 7)
        assert reasons(results) == [DeadWorkerError] * 7
        assert [str(r.reason).partition(" ran task ")[2][0] for r in results] == list("0123456")


def test_an_error_ends_the_call_when_retries_are_used_up(pool):
    count = sharedmem.zeros(3, "i8")

    def work(i):
        count[i] += 1
        if i == 1:
            raise ValueError("again")
        return i

    with pytest.raises((WorkerException, ValueError), match="again"):
        pool.map(work, range(3), retries=2)
    assert count[1] == 3


@pytest.mark.parametrize("fails", [lambda: 1 / 0, die])
def test_tasks_run_again_with_the_same_random_numbers(workers, fails):
    pool = MapReduce(np=workers.np, seed=3)
    drawn = sharedmem.zeros((4, 3))
    tries = sharedmem.zeros(4, "i8")

    def work(i):
        attempt = int(tries[i])
        tries[i] += 1
        drawn[i, attempt] = pool.rng.random()
        if attempt < i % 3:
            fails()
        return i

    for n_calls, call in enumerate(calls(pool, retries=2)):
        tries[:] = drawn[:] = 0
        assert call(work, 4) == [0, 1, 2, 3]
        assert tries.tolist() == [1, 2, 3, 1]
        pool_of_one = MapReduce(np=0, seed=3)
        for _ in range(n_calls):
            pool_of_one.map(abs, range(4))
        first = pool_of_one.map(lambda i: pool_of_one.rng.random(), range(4))
        for i in range(4):
            assert set(drawn[i, : tries[i]]) == {first[i]}


def test_a_dead_task_runs_again_before_others_begin():
    order = sharedmem.zeros(12, "i8")
    count = sharedmem.zeros((), "i8")

    def work(i):
        order[int(count)] = i
        count[()] += 1
        if i == 2 and count == 3:
            die()
        return i

    assert MapReduce(np=1).map(work, range(6), retries=1, chunksize=1) == list(range(6))
    assert order[: int(count)].tolist() == [0, 1, 2, 2, 3, 4, 5]


def test_deaths_and_exceptions_share_the_retries():
    tries = sharedmem.zeros((), "i8")

    def work(i):
        tries[()] += 1
        if tries == 1:
            die()
        raise ValueError

    (result,) = MapReduce(np=2).map(work, range(1), retries=2, return_exceptions=True)
    assert type(result.reason) is ValueError
    assert tries == 3


def hold_the_gil():
    import ctypes

    ctypes.PyDLL(None).sleep(60)


@pytest.mark.parametrize(
    "block", [lambda: time.sleep(60), hold_the_gil, lambda: os.kill(os.getpid(), signal.SIGSTOP)]
)
def test_a_task_that_takes_too_long_is_ended(block):
    pool = MapReduce(np=2)

    def work(i):
        if i == 3:
            block()
        return i

    for call in calls(pool, return_exceptions=True, task_timeout=0.2):
        results = call(work, 6)
        assert reasons(results) == [0, 1, 2, TimeoutError, 4, 5]
        assert "task 3" in str(results[3].reason)
        assert "task_timeout=0.2" in str(results[3].reason)
    with pytest.raises(WorkerException, match="task_timeout") as caught:
        pool.map(work, range(6), task_timeout=0.2)
    assert isinstance(caught.value.reason, TimeoutError)


def test_the_limit_is_for_each_attempt_and_leaves_out_the_wait_for_others():
    pool = MapReduce(np=4)
    tries = sharedmem.zeros(1, "i8")

    def work(i):
        with pool.ordered, pool.critical:
            time.sleep(0.12)
        return i

    def again(i):
        tries[0] += 1
        time.sleep(0.15)
        if tries[0] < 3:
            raise ValueError
        return i

    assert pool.map(work, range(6), task_timeout=0.3) == list(range(6))
    assert pool.map(again, range(1), task_timeout=0.3, retries=2) == [0]


def test_a_busy_coordinator_does_not_make_tasks_overdue():
    pool = MapReduce(np=2)
    text = "x" * 100_000
    results = pool.imap(lambda i: (i, text), range(40), task_timeout=0.3)
    for i, (result, _) in enumerate(results):
        assert i == result
        if i % 10 == 0:
            time.sleep(0.4)


def test_the_time_limit_of_the_call_holds():
    pool = MapReduce(np=2, timeout=0.3)
    for call in calls(pool, return_exceptions=True, task_timeout=60):
        with pytest.raises(TimeoutError, match=r"timeout=0\.3 "):
            call(lambda i: time.sleep(60), 4)


@pytest.mark.parametrize("where", ["critical", "ordered", "both", "before", "after"])
def test_a_worker_that_dies_in_a_section_holds_up_nobody(where):
    pool = MapReduce(np=3)
    log = sharedmem.zeros(40, "i8")
    count = sharedmem.zeros((), "i8")

    def work(i):
        dies = i % 7 == 3
        if dies and where == "before":
            die()
        if where == "critical":
            with pool.critical:
                return die() if dies else i
        with pool.ordered:
            if where == "both":
                with pool.critical:
                    return die() if dies else i
            if dies and where == "ordered":
                die()
            log[int(count)] = i
            count[()] += 1
        if dies:
            die()
        return i

    expected = [DeadWorkerError if i % 7 == 3 else i for i in range(20)]
    for call in calls(pool, return_exceptions=True):
        count[()] = 0
        assert reasons(call(work, 20)) == expected
        if where in ("ordered", "before"):
            assert log[: int(count)].tolist() == [i for i in range(20) if i % 7 != 3]


def test_tasks_that_run_again_keep_their_turn(workers):
    pool = workers
    log = sharedmem.zeros(100, "i8")
    count = sharedmem.zeros((), "i8")
    tries = sharedmem.zeros(30, "i8")

    def work(i):
        with pool.critical:
            tries[i] += 1
        if i % 5 == 1 and tries[i] == 1:
            die()
        with pool.ordered:
            if i % 5 == 2 and tries[i] == 1:
                raise ValueError
            if i % 5 == 3 and tries[i] == 1:
                die()
            log[int(count)] = i
            count[()] += 1
        return i

    for chunksize in (None, 1, 4):
        count[()] = tries[:] = 0
        assert pool.map(work, range(30), retries=1, chunksize=chunksize) == list(range(30))
        assert log[: int(count)].tolist() == list(range(30))


def test_blocks_of_tasks_that_run_again_after_their_turn_exclude_others(pool):
    inside = sharedmem.zeros((), "i8")
    tries = sharedmem.zeros(20, "i8")

    def work(i):
        with pool.ordered:
            assert inside == 0
            inside[()] = 1
            time.sleep(0.001)
            inside[()] = 0
        tries[i] += 1
        if tries[i] < 3 and i % 3 == 0:
            raise ValueError
        return i

    assert pool.map(work, range(20), retries=2) == list(range(20))


def test_a_barrier_is_refused():
    pool = MapReduce(np=2)
    results = pool.map(lambda i: pool.barrier(), range(2), return_exceptions=True)
    assert reasons(results) == [threading.BrokenBarrierError] * 2


def test_a_task_that_never_releases_fails_alone(pool):
    def work(i):
        if i == 2:
            pool.critical.acquire()
        with pool.critical:
            return i

    results = pool.map(work, range(6), return_exceptions=True)
    assert reasons(results) == [0, 1, RuntimeError, 3, 4, 5]


def test_a_stopped_worker_costs_its_task(backend):
    pool = MapReduce(backend, np=3)

    def work(i):
        if i == 4:
            raise StopProcessGroup
        return i

    expected = [i for i in range(30) if i != 4]
    assert pool.map(work, range(30), return_exceptions=True) == expected
    assert pool.map(work, range(30), return_exceptions=True, chunksize=10) == expected
    if backend is ProcessBackend:  # others run the items that it was given
        assert list(pool.imap(work, range(30), return_exceptions=True)) == expected

    def stop(i):
        raise StopProcessGroup

    assert pool.map(stop, range(9), retries=1) == []
    assert list(pool.imap(stop, range(9), retries=1)) == []


class TextlessError(Exception):
    def __str__(self):
        raise ValueError


class HugeError(Exception):
    pass


def raise_group():
    raise ExceptionGroup("both", [ValueError(1), KeyError(2)])


def raise_local():
    class LocalError(Exception):
        pass

    raise LocalError("the text")


def raise_textless():
    raise TextlessError


def raise_huge():
    raise HugeError(bytes(30_000_000))


@pytest.mark.parametrize(
    ("fails", "kind"),
    [
        (raise_group, ExceptionGroup),
        (raise_textless, TextlessError),
        (raise_huge, HugeError),
        (sys.exit, SystemExit),
        (lambda: signal.default_int_handler(), KeyboardInterrupt),
        (lambda: lambda: 0, TypeError),  # cannot be pickled: depends on the version
    ],
)
def test_strange_failures_stand_at_their_place(fails, kind):
    results = MapReduce(np=2).map(
        lambda i: fails() if i == 1 else i, range(3), return_exceptions=True
    )
    assert results[::2] == [0, 2]
    reason = results[1].reason
    assert isinstance(reason, kind) or fails.__name__ == "<lambda>"
    if kind is HugeError:
        assert len(reason.args[0]) == 30_000_000
        assert len(str(results[1])) < 100_000


def test_an_exception_that_cannot_be_pickled_is_replaced_by_its_text():
    with pytest.warns(LostExceptionType):
        (result,) = MapReduce(np=2).map(lambda i: raise_local(), range(1), return_exceptions=True)
    assert "the text" in str(result.reason)


class FailsToLoad:
    def __reduce__(self):
        return int, ("no number",)


class DiesToLoad:
    def __reduce__(self):
        return os._exit, (5,)


def test_items_and_results_that_cannot_be_unpickled_cost_one_task():
    pool = MapReduce(np=2)
    items = [0, FailsToLoad(), 2, DiesToLoad(), 4]
    results = list(pool.imap(lambda item: item, items, return_exceptions=True))
    assert reasons(results) == [0, ValueError, 2, DeadWorkerError, 4]
    results = pool.map(
        lambda i: FailsToLoad() if i == 2 else i, range(5), chunksize=5, return_exceptions=True
    )
    assert reasons(results) == [0, 1, ValueError, 3, 4]


def test_items_that_change_later_are_kept_for_another_attempt():
    tries = sharedmem.zeros(4, "i8")
    buffer = bytearray(200_000)

    def items():
        import numpy as np

        array = np.frombuffer(buffer, "u1")
        for i in range(4):
            buffer[0] = i
            yield array

    def work(array):
        i = int(array[0])
        tries[i] += 1
        if tries[i] == 1:
            time.sleep(0.05)
            die()
        return i

    assert list(MapReduce(np=2).imap(work, items(), retries=1)) == [0, 1, 2, 3]


def test_an_initializer_that_fails_ends_the_call():
    for fails in (lambda: 1 / 0, die):
        pool = MapReduce(np=2, initializer=fails)
        with pytest.raises(WorkerException, match=r"initializer|before its first task"):
            pool.map(abs, range(4), return_exceptions=True)


def test_replacements_are_initialized_and_have_other_global_random_numbers():
    import numpy as np

    local = []
    pool = MapReduce(np=1, initializer=lambda: local.append(os.getpid()), seed=2)

    def work(i):
        assert local == [os.getpid()]
        number = np.random.random()
        return die() if i == 2 else number

    results = pool.map(work, range(6), return_exceptions=True)
    numbers = [r for r in results if isinstance(r, float)]
    assert len(set(numbers)) == 5


def test_the_iterable_of_imap_is_read_as_results_are_taken():
    n_read = itertools.count()
    results = MapReduce(np=2).imap(abs, (next(n_read) for _ in iter(int, 1)), retries=1)
    assert [next(results) for _ in range(500)] == list(range(500))
    results.close()
    assert next(n_read) < 10_000


def test_traces_have_the_events_of_replacements():
    pool = MapReduce(np=2, trace=True)
    pool.map(lambda i: die() if i == 3 else i, range(30), return_exceptions=True)
    assert sum(len(events) for events in pool.trace.events) > 0
    assert len(pool.trace.events) == 2


def test_a_time_limit_needs_workers_that_can_be_killed():
    pool = MapReduce(ThreadBackend, np=2)
    with pytest.raises(ValueError, match="task of ThreadBackend cannot be ended"):
        pool.map(abs, range(2), task_timeout=1)
    with pytest.raises(ValueError, match="task of ThreadBackend cannot be ended"):
        pool.imap(abs, range(2), task_timeout=1)
    assert MapReduce(np=0).map(abs, range(2), task_timeout=1) == [0, 1]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"return_exceptions": 1}, ValueError, "return_exceptions must be True or False"),
        ({"retries": -1}, ValueError, "retries must be"),
        ({"retries": 1.5}, TypeError, "retries"),
        ({"task_timeout": 0}, ValueError, "task_timeout must be positive"),
        ({"task_timeout": "1"}, TypeError, "task_timeout must be a number"),
    ],
)
def test_invalid_options_are_refused(pool, options, error, match):
    with pytest.raises(error, match=match):
        pool.map(abs, range(2), **options)
    with pytest.raises(error, match=match):
        pool.imap(abs, range(2), **options)


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupt_of_a_serial_call_is_raised(number):
    with pytest.raises(KeyboardInterrupt):
        MapReduce(np=0).map(lambda i: signal.raise_signal(number), range(2), return_exceptions=True)


OUTCOMES = ["return", "raise", "exit", "kill", "sleep", "critical", "ordered", "large"]


def run_outcome(pool, outcome, i):
    if outcome == "raise":
        raise ValueError(i)
    if outcome == "exit":
        os._exit(3)
    if outcome == "kill":
        die()
    if outcome == "sleep":
        time.sleep(60)
    if outcome == "critical":
        with pool.critical:
            die()
    if outcome == "ordered":
        with pool.ordered:
            die()
    if outcome == "large":
        return bytes(100_000)
    with pool.ordered:
        return i


@pytest.mark.timeout(180)
@settings(max_examples=15)
@given(
    tasks=st.lists(
        st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 2)), min_size=1, max_size=12
    ),
    n_workers=st.sampled_from([1, 2, 3, 5]),
    chunksize=st.sampled_from([None, 1, 3, 20]),
    retries=st.integers(0, 2),
    which=st.integers(0, 1),
)
def test_results_equal_those_of_a_model(tasks, n_workers, chunksize, retries, which):
    """Each task has an outcome for its first attempts, and then returns."""
    pool = MapReduce(np=n_workers)
    tries = sharedmem.zeros(len(tasks), "i8")

    def work(i):
        with pool.critical:  # A task that enters no section may run twice.
            tries[i] += 1
        outcome, n_failures = tasks[i]
        if outcome == "sleep":
            n_failures = min(n_failures, 1)
        return run_outcome(pool, outcome if tries[i] <= n_failures else "return", i)

    def model(i):
        outcome, n_failures = tasks[i]
        if outcome == "sleep":
            n_failures = min(n_failures, 1)
        if outcome == "return" or n_failures == 0:
            return i
        if outcome == "large":
            return bytes(100_000)
        if n_failures <= retries:
            return i
        return {"raise": ValueError, "sleep": TimeoutError}.get(outcome, DeadWorkerError)

    options = {"return_exceptions": True, "retries": retries, "task_timeout": 1}
    call = calls(pool, **options)[which]
    assert reasons(call(work, len(tasks), chunksize=chunksize)) == [
        model(i) for i in range(len(tasks))
    ]


def test_the_package_file_is_not_in_tracebacks(pool):
    (result,) = pool.map(lambda i: 1 / 0, range(1), return_exceptions=True)
    assert str(Path(sharedmem.__file__).parent) not in result.traceback


def test_a_pool_whose_workers_stay_goes_on_after_deaths():
    def work(i):
        return die() if i == 3 else os.getpid()

    with MapReduce(np=2, persistent=True) as pool:
        before = set(pool.map(lambda i: time.sleep(0.01) or os.getpid(), range(8)))
        for call in calls(pool, return_exceptions=True)[:2]:
            results = call(work, 8)
            assert isinstance(results[3].reason, DeadWorkerError)
            assert all(isinstance(pid, int) for pid in results[:3] + results[4:])
            assert pool.map(abs, range(-3, 0)) == [3, 2, 1]
        after = set(pool.map(lambda i: time.sleep(0.01) or os.getpid(), range(8)))
        assert len(before) == len(after) == 2


def kill_some(chance):
    """Kill eight workers of this process, now and then: more might die before they begin."""
    for _ in range(8):
        time.sleep(chance.uniform(0.002, 0.04))
        pids = sorted(children())
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(int(chance.choice(pids)), signal.SIGKILL)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_kills_at_any_moment_cost_tasks_and_nothing_else(seed, persistent):
    chance = random.Random(seed)
    with MapReduce(np=3, persistent=persistent) as pool:
        count = sharedmem.zeros((), "i8")

        def work(i):
            time.sleep(0.0003)
            with pool.ordered, pool.critical:
                count[()] += 1
            return i

        for call in calls(pool, return_exceptions=True)[:2]:
            for options in ({}, {"retries": 20}):
                killer = threading.Thread(target=kill_some, args=(chance,))
                killer.start()
                results = call(work, 300, **options)
                killer.join()
                assert all(r in (i, DeadWorkerError) for i, r in enumerate(reasons(results)))
                n_lost = reasons(results).count(DeadWorkerError)
                assert n_lost == 0 if options else n_lost <= 8
    assert count >= 300


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("persistent", [False, True])
def test_an_interrupt_at_any_call_leaves_nothing(persistent):
    pool = MapReduce(np=2, persistent=persistent)

    def work(i):
        return die() if i % 3 == 1 else i

    n_interrupts = 0
    expected = [DeadWorkerError if i % 3 == 1 else i for i in range(6)]
    with pool:
        for at in itertools.count(7 * sys.version_info.minor % 347, 347):
            strike = Strike(at)
            try:
                with strike:
                    pool.map(work, range(6), return_exceptions=True)
            except KeyboardInterrupt:
                n_interrupts += 1
            if n_interrupts % 5 == 0:
                assert reasons(pool.map(work, range(6), return_exceptions=True)) == expected
            if strike.n_left >= 0:
                break
    assert n_interrupts > 10
