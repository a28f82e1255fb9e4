"""One function call in the background."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

import sharedmem
from sharedmem import ProcessBackend, ThreadBackend, WorkerException, background


@pytest.fixture(params=[ProcessBackend, ThreadBackend], ids=lambda backend: backend.__name__)
def backend(request):
    return request.param


def test_the_result_comes_with_wait(backend):
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


def test_it_runs_beside_the_caller(backend):
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
def test_a_process_that_dies_is_an_error(end, text, exitcode):
    call = background(end)
    with pytest.raises(WorkerException, match=text):
        call.wait()
    assert call.exitcode == exitcode


def test_an_unpicklable_result_is_an_error():
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


def test_a_dropped_call_goes_on(tmp_path):
    path = tmp_path / "written"
    background(lambda: (time.sleep(0.1), path.write_text("x")))
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.1)
    assert background(abs, -1).wait() == 1  # Reaps the one that was dropped.


def test_inside_a_pool_and_a_pool_inside():
    def work(i):
        return background(lambda: i + 1).wait()

    assert sharedmem.MapReduce(np=2).map(work, range(3)) == [1, 2, 3]
    inner = background(lambda: sharedmem.MapReduce(np=2).map(abs, [-1, -2]))
    assert inner.wait() == [1, 2]


def test_what_cannot_be_called_so_is_refused():
    with pytest.raises(TypeError, match="or ThreadBackend, got 'me'"):
        background(print, backend="me")
    with pytest.raises(TypeError, match="background needs a callable, got 3"):
        background(3)
