"""Executors of concurrent.futures."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures

import numpy as np
import pytest

import sharedmem
from interrupts import Strike
from leftovers import children
from sharedmem import DeadWorkerError, Executor, ThreadBackend


@pytest.fixture
def executor():
    with Executor(np=2) as executor:
        yield executor


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Unpicklable:
    def __reduce__(self):
        raise ValueError("no pickle")


class Unloadable:
    """It is pickled, and raises or kills when it is unpickled."""

    def __init__(self, func, *args):
        self.call = func, args

    def __reduce__(self):
        return self.call


def throw(error):
    raise error


def test_results_of_closures_and_lambdas(executor):
    factor = 6
    assert executor.submit(lambda a, b: factor * a * b, 1, b=7).result() == 42
    assert executor.submit(lambda: lambda: factor).result()() == 6


def test_workers_stay(executor):
    pids = {future.result() for future in [executor.submit(os.getpid) for _ in range(50)]}
    assert 1 <= len(pids) <= 2
    assert os.getpid() not in pids


def test_shared_arrays_by_reference_and_large_arrays(executor):
    shared, private = sharedmem.zeros(10), np.arange(1e6)

    def work(shared, private):
        shared += 1
        return shared, private * 2

    same, doubled = executor.submit(work, shared, private).result()
    assert np.all(shared == 1)
    shared[0] = 5
    assert same[0] == 5
    assert np.array_equal(doubled, private * 2)
    doubled[0] = 1


def test_the_exception_is_the_original_with_the_traceback_as_cause(executor):
    error = executor.submit(throw, KeyError("name", 3)).exception()
    assert type(error) is KeyError
    assert error.args == ("name", 3)
    assert "raise error" in str(error.__cause__)
    assert "in worker" in str(error.__cause__)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_any_exception_belongs_to_its_future(executor, kind):
    assert type(executor.submit(throw, kind("text")).exception()) is kind
    assert executor.submit(abs, -1).result() == 1


def test_what_cannot_be_pickled_costs_its_own_future(executor):
    with pytest.raises(ValueError, match="no pickle") as caught:
        executor.submit(abs, Unpicklable()).result()
    assert "pickled to reach a worker" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="no pickle"):
        executor.submit(Unpicklable).result()
    lost = executor.submit(lambda: throw(ValueError(Unpicklable()))).exception()
    assert type(lost) is Exception
    assert "ValueError" in str(lost)
    with pytest.raises(ValueError, match="in a worker"):
        executor.submit(abs, Unloadable(throw, ValueError("in a worker"))).result()
    with pytest.raises(ValueError, match="in the coordinator"):
        executor.submit(Unloadable, throw, ValueError("in the coordinator")).result()
    with pytest.raises(SystemExit):
        executor.submit(Unloadable, sys.exit, 3).result()
    assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("n_workers", [1, 2, 5])
def test_a_dead_worker_costs_its_own_call(n_workers):
    with Executor(np=n_workers) as executor:
        executor.submit(abs, 0).result()
        calls = [
            executor.submit(abs, -i) if i % 10 else executor.submit(os._exit, 3) for i in range(100)
        ]
        for i, call in enumerate(calls):
            if i % 10:
                assert call.result() == i
            else:
                error = call.exception()
                assert type(error) is DeadWorkerError
                assert error.exitcode == 3
                assert "_exit" in str(error)


def test_a_call_that_kills_as_it_is_unpickled_is_lost_alone(executor):
    calls = [executor.submit(abs, Unloadable(os._exit, 3)) for _ in range(3)]
    # A large argument is unpickled as it is received.
    calls.append(executor.submit(max, Unloadable(os._exit, 3), np.zeros(100_000).tolist()))
    others = executor.map(abs, range(20))
    assert [type(call.exception()) for call in calls] == [DeadWorkerError] * 4
    assert list(others) == list(range(20))


# `make soak` has more.
@pytest.mark.parametrize("seed", range(int(os.environ.get("SHAREDMEM_TEST_SEEDS", "1"))))
@pytest.mark.slow
def test_killed_workers_lose_at_most_what_they_ran(executor, seed):
    random = np.random.default_rng(seed)
    executor.submit(abs, 0).result()
    calls = [executor.submit(lambda i: time.sleep(1e-4) or i, i) for i in range(2000)]
    n_killed = 0
    while not all(call.done() for call in calls):
        for pid in children():
            if random.random() < 0.5:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    n_killed += 1
        time.sleep(0.02 + random.random() / 10)
    lost = [call for call in calls if call.exception() is not None]
    assert {type(call.exception()) for call in lost} <= {DeadWorkerError}
    assert len(lost) <= n_killed
    assert all(call in lost or call.result() == i for i, call in enumerate(calls))
    assert executor.submit(abs, -2).result() == 2


def test_calls_that_wait_for_each_other_get_a_worker_each(executor):
    flags = sharedmem.zeros(2, "?")
    assert list(executor.map(abs, range(500)))  # They are short, so that others are sent ahead.

    def meet(i):
        flags[i] = True
        while not flags.all():
            time.sleep(0.001)
        return i

    calls = [executor.submit(abs, 1) for _ in range(30)]
    calls += [executor.submit(meet, 0), executor.submit(meet, 1)]
    assert not futures.wait(calls, 20).not_done


def test_map_in_chunks_of_several_iterables(executor):
    assert list(executor.map(pow, range(10), itertools.repeat(2), chunksize=3)) == [
        i * i for i in range(10)
    ]
    with pytest.raises(ValueError, match="chunksize must be at least 1"):
        executor.map(abs, [1], chunksize=0)


def test_map_with_buffersize_reads_no_further(executor):
    taken = []
    results = executor.map(abs, (taken.append(i) or i for i in itertools.count()), buffersize=3)
    assert len(taken) == 3
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    assert len(taken) == 8


def test_map_is_overdue(executor):
    flag = sharedmem.zeros(1, "?")

    def work(i):
        while i and not flag[0]:
            time.sleep(0.001)
        return i

    results = executor.map(work, range(5), timeout=0.3)
    assert next(results) == 0
    with pytest.raises(TimeoutError):
        next(results)
    flag[0] = True


def test_cancel(executor):
    flag = sharedmem.zeros(1, "?")

    def work():
        while not flag[0]:
            time.sleep(0.001)

    running = [executor.submit(work) for _ in range(2)]
    waiting = executor.submit(abs, 1)
    assert waiting.cancel()
    flag[0] = True
    futures.wait([*running, waiting], 10)
    assert not any(call.cancelled() for call in running)
    with pytest.raises(futures.CancelledError):
        waiting.result()


def test_callbacks_submit_and_fail(executor, caplog):
    results = []

    def again(future):
        results.append(future.result())
        if len(results) < 20:
            executor.submit(abs, -len(results)).add_done_callback(again)
        if len(results) == 3:
            raise SystemExit("in a callback")

    executor.submit(abs, 0).add_done_callback(again)
    wait_until(lambda: len(results) == 20)
    assert results == list(range(20))
    assert "could not be settled" in caplog.text
    caplog.clear()  # whose records keep tracebacks


def test_submit_from_many_threads(executor):
    results = [None] * 8

    def run(k):
        results[k] = [executor.submit(divmod, i, 7) for i in range(k, 400, 8)]

    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, calls in enumerate(results):
        assert [call.result() for call in calls] == [divmod(i, 7) for i in range(k, 400, 8)]


def test_asyncio(executor):
    async def main():
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(executor, abs, -1)
        second = asyncio.wrap_future(executor.submit(abs, -2))
        return await asyncio.gather(first, second)

    assert asyncio.run(main()) == [1, 2]


def test_initializer_with_arguments():
    state = sharedmem.zeros(1)

    def start(value):
        state[0] += value
        globals()["started"] = value

    with Executor(np=1, initializer=start, initargs=(3,)) as executor:
        assert executor.submit(lambda: globals()["started"]).result() == 3
        assert executor.submit(abs, -1).result() == 1
    assert state[0] == 3


def test_a_failing_initializer_breaks_the_executor():
    with Executor(np=2, initializer=throw, initargs=(ValueError("no licence"),)) as executor:
        with pytest.raises(futures.BrokenExecutor, match="no licence") as caught:
            executor.submit(abs, 1).result()
        assert type(caught.value.__cause__) is ValueError
        with pytest.raises(futures.BrokenExecutor, match="no licence"):
            executor.submit(abs, 1)


def test_workers_that_die_as_they_start_break_the_executor():
    with Executor(np=2, initializer=os._exit, initargs=(1,)) as executor:
        error = executor.submit(abs, 1).exception()
    assert isinstance(error, futures.BrokenExecutor)
    assert "die as they start" in str(error)


def test_shutdown_waits_and_cancels(executor):
    calls = [executor.submit(time.sleep, 0.02) for _ in range(20)]
    executor.shutdown(cancel_futures=True)
    assert all(call.done() for call in calls)
    assert 0 < sum(call.cancelled() for call in calls) < 20
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)


def test_shutdown_without_waiting(executor):
    calls = [executor.submit(abs, -i) for i in range(100)]
    executor.shutdown(wait=False)
    assert [call.result() for call in calls] == list(range(100))


def test_an_executor_that_is_collected_finishes_its_calls():
    executor = Executor(np=2)
    calls = [executor.submit(abs, -i) for i in range(100)]
    del executor
    assert [call.result() for call in calls] == list(range(100))


def test_kill_workers(executor):
    calls = [executor.submit(time.sleep, 60) for _ in range(5)]
    wait_until(lambda: sum(call.running() for call in calls) == 2)
    executor.kill_workers()
    assert all(call.done() for call in calls)
    assert sum(call.cancelled() for call in calls) == 3
    assert type(calls[0].exception()) is DeadWorkerError


def test_an_interrupt_in_the_block_ends_the_workers():
    calls = []

    def interrupt():
        with Executor(np=2) as executor:
            calls.append(executor.submit(time.sleep, 60))
            wait_until(calls[0].running)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert type(calls[0].exception()) is DeadWorkerError


# Other versions of Python strike at each third of these calls.
@pytest.mark.parametrize(
    "at", [pytest.param(at, marks=[pytest.mark.slow] * (at % 57 > 0)) for at in range(0, 900, 19)]
)
def test_interrupts_lose_nothing(at):
    def work():
        with Strike(at), Executor(np=1) as executor:
            executor.submit(abs, -1).result()
            list(executor.map(abs, [-1, -2]))
            for i in itertools.count():
                executor.submit(abs, -i).result()

    with pytest.raises(KeyboardInterrupt):
        work()
    with Executor(np=1) as executor:
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_interrupts_at_the_end_lose_nothing(at):
    executor = Executor(np=1)
    calls = [executor.submit(abs, -i) for i in range(10)]
    with contextlib.suppress(KeyboardInterrupt), Strike(at):
        executor.shutdown()
    executor.shutdown()
    assert [call.result() for call in calls] == list(range(10))


def test_a_fork_of_the_coordinator_has_no_part_in_it(executor):
    assert executor.submit(abs, -1).result() == 1
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            executor.submit(abs, 1)
        except RuntimeError as error:
            os.write(writer, str(error).encode())
            executor.shutdown()
            with Executor(np=1) as other:
                os.write(writer, b" %d" % other.submit(abs, -4).result())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    text = os.read(reader, 1000).decode()
    os.close(reader)
    assert "make another one here" in text
    assert text.endswith(" 4")
    assert executor.submit(abs, -2).result() == 2


def test_nested(executor):
    def outer(i):
        with Executor() as serial, Executor(np=2) as own:
            return serial.np, serial.submit(abs, -i).result() + own.submit(abs, -i).result()

    assert list(executor.map(outer, range(3))) == [(0, 0), (0, 2), (0, 4)]


def test_without_workers_the_caller_runs_the_calls():
    with Executor(np=0, initializer=lambda: None) as executor:
        assert executor.submit(os.getpid).result() == os.getpid()
        assert type(executor.submit(throw, ValueError()).exception()) is ValueError
        with pytest.raises(KeyboardInterrupt):
            executor.submit(throw, KeyboardInterrupt())
        assert list(executor.map(abs, [-1, 2])) == [1, 2]


def test_arguments_are_checked(executor):
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        Executor(2, backend=ThreadBackend)
    with pytest.raises(ValueError, match="np must be at least 0, got -1"):
        Executor(-1)
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        pickle.dumps(executor)


EXITS = {
    "": "",
    "executor.shutdown(wait=False)": "",
    "raise SystemExit(3)": "",
    "import atexit; atexit.register(lambda: executor.submit(abs, 1))": "interpreter shutdown",
}


@pytest.mark.parametrize("last", EXITS)
def test_the_program_waits_at_its_end(last):
    code = f"""
import sharedmem, time
def work():
    time.sleep(0.2)
    print("apple", flush=True)
executor = sharedmem.Executor(np=2)
executor.submit(work)
{last}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "apple\n"
    assert EXITS[last] in done.stderr
    assert bool(EXITS[last]) == bool(done.stderr)
