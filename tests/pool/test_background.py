"""Background calls."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest

import sharedmem
from interrupts import Strike
from sharedmem import ProcessBackend, ThreadBackend, WorkerException, background


@pytest.fixture(params=[ProcessBackend, ThreadBackend], ids=lambda backend: backend.__name__)
def backend(request):
    return request.param


def test_wait_returns_the_result(backend):
    call = background(divmod, 7, 2, backend=backend)
    assert call.wait() == (3, 1)
    assert call.wait() == (3, 1)
    assert call.exitcode == 0
    assert call.done()


def test_arguments_by_keyword_and_closures(backend):
    factor = threading.local()
    factor.value = 2
    call = background(function=lambda a, b: a * b, a=3, b=4, backend=backend)
    assert call.wait() == 12


def test_the_call_runs_concurrently_with_the_caller(backend):
    flags = sharedmem.zeros(2, "?")

    def work():
        flags[0] = True
        while not flags[1]:
            time.sleep(0.001)
        return "done"

    call = background(work, backend=backend)
    assert not call.done()
    assert call.exitcode is None
    assert "running" in repr(call)
    with pytest.raises(TimeoutError, match=r"still running after 0\.01 seconds"):
        call.wait(0.01)
    flags[1] = True
    assert call.wait(10) == "done"
    assert "done" in repr(call)


def test_large_results_and_shared_arrays():
    def work():
        return np.ones(1_000_000), sharedmem.full(10, 3)

    ones, threes = background(work).wait()
    assert ones.sum() == 1_000_000
    assert type(threes) is sharedmem.SharedArray


def test_an_exception_is_wrapped(backend):
    call = background(lambda: 1 // 0, backend=backend)
    for _ in range(2):
        with pytest.raises(WorkerException, match="by zero") as caught:
            call.wait()
    assert isinstance(caught.value.reason, ZeroDivisionError)
    assert "test_background.py" in caught.value.traceback
    assert call.exitcode == 1


@pytest.mark.parametrize(
    ("end", "text", "exitcode"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL", -9),
        (lambda: os._exit(0), "exited with status 0", 0),
        (lambda: os._exit(3), "exited with status 3", 3),
    ],
)
def test_a_process_that_dies_raises(end, text, exitcode):
    call = background(end)
    with pytest.raises(WorkerException, match=text):
        call.wait()
    assert call.exitcode == exitcode


def test_an_unpicklable_result_raises():
    with pytest.raises(WorkerException, match="pickle"):
        background(lambda: lambda: 0).wait()


def test_cancel_ends_a_process():
    call = background(time.sleep, 60)
    assert call.cancel()
    assert call.done()
    assert not call.cancel()
    with pytest.raises(WorkerException, match="was cancelled"):
        call.wait()


def test_cancel_leaves_a_thread_and_a_finished_call_alone(backend):
    call = background(time.sleep, 0.05, backend=backend)
    if backend is ThreadBackend:
        assert not call.cancel()
    assert call.wait() is None
    assert not call.cancel()


def test_a_dropped_call_continues(tmp_path):
    path = tmp_path / "written"
    background(lambda: (time.sleep(0.1), path.write_text("x")))
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.1)
    assert background(abs, -1).wait() == 1  # also reaps the process of the dropped call


def test_background_in_a_task_and_a_pool_in_background():
    def work(i):
        return background(lambda: i + 1).wait()

    assert sharedmem.MapReduce(np=2).map(work, range(3)) == [1, 2, 3]
    inner = background(lambda: sharedmem.MapReduce(np=2).map(abs, [-1, -2]))
    assert inner.wait() == [1, 2]


def test_invalid_arguments_are_refused():
    with pytest.raises(TypeError, match="or ThreadBackend, got 'me'"):
        background(print, backend="me")
    with pytest.raises(TypeError, match="function must be callable, got 3"):
        background(3)


def test_a_backend_may_be_an_object(backend):
    assert background(divmod, 7, 2, backend=backend()).wait() == (3, 1)
    assert sharedmem.MapReduce(backend(), np=2).map(abs, [-1, -2]) == [1, 2]


def in_a_thread(function, *args):
    """Call a function in another thread; return a function that waits for its outcome."""
    outcome = []

    def call():
        try:
            outcome.append(function(*args))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()

    def result():
        thread.join(20)
        assert outcome, "the thread hangs"
        return outcome[0]

    return result


class TestThreads:
    def test_all_waiting_threads_get_the_result(self, backend):
        go = sharedmem.zeros(1, "?")
        call = background(lambda: ([time.sleep(0.001) for _ in iter(lambda: go[0], True)], 3)[1])
        waiting = [in_a_thread(call.wait) for _ in range(3)]
        impatient = in_a_thread(call.wait, 0.01)
        assert isinstance(impatient(), TimeoutError)
        assert not call.done()
        assert call.exitcode is None
        go[0] = True
        assert [result() for result in waiting] == [3, 3, 3]

    def test_cancel_while_threads_wait(self):
        call = background(time.sleep, 60)
        waiting = [in_a_thread(call.wait) for _ in range(2)]
        time.sleep(0.05)
        assert call.cancel()
        for result in waiting:
            assert str(result()).endswith("was cancelled")
        assert call.exitcode == -9
        assert repr(call) == "<background sleep, cancelled>"
        assert not call.cancel()

    def test_cancel_agrees_with_waiting_threads(self):
        for delay in (0, 0.001, 0.002, 0.004, 0.008, 0.016):
            call = background(lambda: 3)
            waiting = in_a_thread(call.wait)
            time.sleep(delay)
            if call.cancel():
                assert str(waiting()).endswith("was cancelled")
                with pytest.raises(WorkerException, match="was cancelled"):
                    call.wait()
            else:
                assert waiting() == call.wait() == 3
                assert call.exitcode == 0

    def test_one_waiting_thread_is_interrupted_alone(self):
        go = sharedmem.zeros(1, "?")
        call = background(lambda: ([time.sleep(0.001) for _ in iter(lambda: go[0], True)], 3)[1])
        waiting = [in_a_thread(call.wait) for _ in range(2)]
        in_a_thread(lambda: (time.sleep(0.2), os.kill(os.getpid(), signal.SIGINT)))
        with pytest.raises(KeyboardInterrupt):
            call.wait()
        go[0] = True
        assert call.wait() == 3
        assert [result() for result in waiting] == [3, 3]

    def test_a_signal_handler_may_wait_and_cancel(self):
        call = background(time.sleep, 60)
        seen = []

        def handler(*_):
            with pytest.raises(TimeoutError, match="still running"):
                call.wait()
            seen.extend([call.done(), call.cancel()])

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            in_a_thread(lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGUSR1)))
            with pytest.raises(WorkerException, match="was cancelled"):
                call.wait()
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert seen == [False, True]

    def test_a_timeout_error_of_a_signal_handler_is_passed_on(self, backend):
        def handler(*_):
            raise TimeoutError("of the user")

        call = background(time.sleep, 0.2, backend=backend)
        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(TimeoutError, match="of the user"):
                call.wait(60)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert call.wait() is None


@pytest.mark.parametrize("function", ["wait", "done", "cancel"])
def test_an_interrupt_at_any_call_loses_nothing(backend, function):
    n_interrupts = 0
    for at in range(0, 150, 5):
        call = background(abs, -3, backend=backend)
        in_time = in_a_thread(call.wait) if at % 2 else None
        try:
            with Strike(at):
                getattr(call, function)()
        except KeyboardInterrupt:
            n_interrupts += 1
        except WorkerException:  # The process was killed before the interrupt came.
            assert function == "cancel"
        outcome = in_a_thread(call.wait)()
        assert outcome == 3 or (function == "cancel" and str(outcome).endswith("was cancelled"))
        if in_time:
            assert repr(in_time()) == repr(outcome)
    assert n_interrupts > 3


class TestForks:
    def test_workers_and_forked_processes_cannot_wait_for_a_call(self, backend):
        go = threading.Event()
        if backend is ProcessBackend:
            call = background(time.sleep, 60)
        else:
            call = background(go.wait, backend=backend)
        held = in_a_thread(call.wait, 5)  # whose lock the workers inherit

        def ask(i):
            texts = [repr(call)]
            for ask in (call.wait, call.done, call.cancel, lambda: call.exitcode):
                with pytest.raises(RuntimeError, match=r"call wait\(\) in process") as caught:
                    ask()
                texts.append(str(caught.value))
            return texts

        for texts in sharedmem.MapReduce(np=2).map(ask, range(2)):
            assert f"of process {os.getpid()}" in texts[0]
            assert f"is a call of process {os.getpid()}, and process" in texts[1]
        go.set()
        call.cancel()
        held()

    def test_workers_inherit_the_result_of_an_ended_call(self, backend):
        done = background(abs, -3, backend=backend)
        failed = background(lambda: 1 // 0, backend=backend)
        assert done.wait() == 3
        assert failed.exitcode is None or failed.exitcode == 1
        with pytest.raises(WorkerException):
            failed.wait()

        def ask(_):
            with pytest.raises(WorkerException, match="by zero"):
                failed.wait()
            return done.wait(), done.done(), done.exitcode, done.cancel(), repr(done), repr(failed)

        expected = (3, True, 0, False, "<background abs, done>")
        for answer in sharedmem.MapReduce(np=2).map(ask, range(2)):
            assert answer[:5] == expected
            assert answer[5].endswith("failed>")


def test_repr_shows_that_a_call_has_ended(backend):
    call = background(abs, -3, backend=backend)
    while call.exitcode is None:
        time.sleep(0.001)
    assert repr(call) == "<background abs, done>"
    failed = background(lambda: 1 // 0, backend=backend)
    while "running" in repr(failed):
        time.sleep(0.001)
    assert repr(failed).endswith("failed>")
    assert failed.exitcode == 1


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_calls_cannot_be_copied_or_pickled(how, backend):
    call = background(abs, -3, backend=backend)
    with pytest.raises(TypeError, match="cannot be copied or pickled: use the object itself"):
        how(call)
    assert call.wait() == 3
