"""Helper threads: work is done once, exceptions are raised, and crashes are reported."""

import itertools
import queue
import signal
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest

import sharedmem
from sharedmem.machine.helper_threads import in_threads

# What loops of Python, of queues, of files and of sequences end with.
KINDS = [
    StopIteration, GeneratorExit, StopAsyncIteration, IndexError, KeyError, AttributeError,
    TimeoutError, RuntimeError, queue.Empty, EOFError, BlockingIOError, InterruptedError,
]  # fmt: skip


def test_each_item_is_taken_once():
    seen, names = [], set()

    def work(item):
        time.sleep(0.001)
        seen.append(item)
        names.add(threading.get_ident())

    in_threads(work, range(40), 4)
    assert sorted(seen) == list(range(40))
    assert 1 < len(names) <= 4


def test_one_thread_is_this_one():
    names = set()
    in_threads(lambda _: names.add(threading.get_ident()), range(5), 1)
    assert names == {threading.get_ident()}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_error_stops_all_and_is_raised(error):
    seen = []

    def work(item):
        seen.append(item)
        if item == 3:
            raise error("here")
        time.sleep(0.001)

    with pytest.raises(error, match="here"):
        in_threads(work, range(1000), 4)
    assert len(seen) < 50


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fails_in_caller", [True, False])
def test_an_exception_that_ends_loops_is_raised(kind, fails_in_caller):
    caller = threading.get_ident()
    other_is_in = threading.Event()

    def fail(_):
        is_caller = threading.get_ident() == caller
        if not is_caller:
            other_is_in.set()
        else:
            other_is_in.wait(10)
        if is_caller == fails_in_caller:
            raise kind("here")

    with pytest.raises(kind, match="here"):
        in_threads(fail, itertools.count(), 2)


@numba.njit(nogil=True)
def stop(x):
    if x[0] == 0:
        raise StopIteration
    x[0] += 1


@pytest.mark.parametrize("np_", [0, 1, 2])
def test_an_exception_of_a_kernel_that_ends_loops_is_raised(np_):
    a = np.zeros(100)
    with sharedmem.MapReduce(np=np_), pytest.raises(StopIteration):
        sharedmem.map_chunks(stop, a, chunks=sharedmem.chunks(a, n=10))


@pytest.mark.parametrize(
    "parts",
    [
        {"chunk": np.sum, "combine": lambda a, b: next(iter(()))},
        {"chunk": np.sum, "combine": max, "finalize": lambda state: next(iter(()))},
    ],
)
def test_an_exception_of_a_reduction_that_ends_loops_is_raised(parts):
    a = np.zeros((2000, 1000))
    with sharedmem.MapReduce(np=0), pytest.raises(StopIteration):
        sharedmem.reduce(sharedmem.Reduction(**parts), a)


def test_threads_block_all_signals_but_synchronous_ones():
    masks = []

    def note(_):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        barrier.wait(10)

    barrier = threading.Barrier(2)
    in_threads(note, range(2), 2)
    blocked = max(masks, key=len)
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1} <= blocked
    assert not {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL} & blocked


def test_faulthandler_reports_a_crash_in_a_thread():
    program = """
import ctypes, faulthandler, threading, time
from sharedmem.machine.helper_threads import in_threads
faulthandler.enable()
caller = threading.get_ident()
def crash(_):
    if threading.get_ident() != caller:
        ctypes.string_at(0)
    time.sleep(5)
in_threads(crash, range(4), 2)
"""
    ended = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in ended.stderr
    assert "in_threads" in ended.stderr
