"""Arrays of failed calls are freed with their last reference, without the garbage collector."""

import contextlib
import gc
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest

from sharedmem import WorkerException

# Dask lets tracebacks be pickled with exceptions, by tblib.
LOCAL = """
import contextlib, gc, weakref
import distributed
import sharedmem

def call(pool, method, work):
    a = sharedmem.ones(1000)
    with contextlib.suppress(sharedmem.WorkerException):
        list(getattr(pool, method)(lambda i: work(a), range(4)))
    return weakref.ref(a)

def fail(a):
    try:
        raise KeyError(1)
    except KeyError as error:
        raise ValueError(a.sum()) from error

def give(a):
    try:
        fail(a)
    except ValueError as error:
        return error

if __name__ == "__main__":
    gc.collect()
    gc.disable()
    for work in fail, give:
        for method in "map", "imap":
            with sharedmem.MapReduce(np=2) as pool:
                assert call(pool, method, work)() is None, (work, method)
"""


def test_arrays_of_a_failed_call_are_freed_where_dask_is_imported(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(LOCAL)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("method", ["map", "imap"])
def test_arrays_of_a_failed_call_on_a_cluster_are_freed(pool, method, without_collector):
    def left():
        a = np.arange(1000.0)

        def fail(i):
            raise ValueError(a[i])

        with contextlib.suppress(WorkerException):
            list(getattr(pool, method)(fail, range(4)))
        return weakref.ref(a)

    reference = left()
    deadline = time.monotonic() + 5
    while reference() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reference() is None
