"""Exceptions of signal handlers at any moment of an array call: they are raised, and work ends."""

from __future__ import annotations

import gc
import inspect
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest

import sharedmem
from leftovers import left_since, look
from sharedmem.arrays import small_arrays
from sharedmem.engine import plans, runners
from sharedmem.kernels import quiet
from sharedmem.machine import blas, float_flags, freeing, helper_threads, native_threads
from sharedmem.machine.freeing import exhaust
from sharedmem.memory import arenas, fill, memory_files, segments, spare_memory, syscalls
from sharedmem.memory.memory_files import map_privately
from sharedmem.memory.segments import HUGE_PAGE, Segment, find_segment

pytestmark = pytest.mark.timeout(60)


class AlarmError(Exception):
    """Raised by the handler of another signal."""


def ring(*_):
    raise AlarmError


# One signal, another one, and both at once, of which the second strikes while the first is handled.
SIGNALS = [(signal.SIGINT,), (signal.SIGALRM,), (signal.SIGINT, signal.SIGALRM)]
ROOT = Path(__file__).parents[2]
RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGALRM: AlarmError}
MODULES = (
    *(blas, helper_threads, runners, freeing, quiet, float_flags),
    *(fill, memory_files, native_threads, plans, segments, spare_memory, syscalls),
    *(arenas, small_arrays),
)
SOURCES = {module.__file__ for module in MODULES} | {np.seterr.__code__.co_filename}


def is_resumed(frame):
    """Return whether a generator goes on, or is closed: Python looks for no signals then."""
    return frame.f_code.co_flags & inspect.CO_GENERATOR and frame.f_lasti > 0


class Strike:
    """Sends signals at a function call, or after a call of a function written in C.

    These are the moments at which Python looks whether there was a signal. All in the modules
    that start and end the work of threads, and that set NumPy's error state, count, and each
    `step`-th of the others.
    """

    def __init__(self, at: int, step: int, signals: tuple[int, ...]) -> None:
        self.n_left, self.step, self.signals = at, step, signals
        self.n_others = 0

    def __call__(self, frame, event, argument):
        if event not in ("call", "c_return") or (event == "call" and is_resumed(frame)):
            return
        if frame.f_code.co_filename not in SOURCES:
            self.n_others += 1
            if self.n_others % self.step:
                return
            if self.n_left == 0:  # Python's files drop what is raised while they are freed
                self.signals = self.signals[:1]
        self.n_left -= 1
        if self.n_left < 0:
            sys.setprofile(None)
            signal.pthread_sigmask(signal.SIG_BLOCK, self.signals)
            for number in self.signals:
                signal.raise_signal(number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.signals)


class Helpers:
    """Counts what threads other than the caller's are at, which ends late."""

    def __init__(self) -> None:
        self.working: set[object] = set()
        self.n_calls = 0

    def in_threads(self, function, items, n_threads):
        def watched(item):
            if threading.current_thread() is threading.main_thread():
                function(item)
                return
            token = object()
            self.working.add(token)
            time.sleep(0.0002)
            function(item)
            self.working.discard(token)

        self.n_calls += n_threads > 1
        helper_threads.in_threads(watched, items, n_threads)

    def run(self, code, block, n_threads):
        self.n_calls += n_threads > 1
        RUN(code, block, n_threads)

    def helpers(self, n_threads):
        self.n_calls += n_threads > 0
        return HELPERS(n_threads)


RUN, HELPERS = native_threads.run, native_threads.helpers


@pytest.fixture
def helpers(monkeypatch):
    watch = Helpers()
    monkeypatch.setattr(runners, "in_threads", watch.in_threads)
    monkeypatch.setattr(native_threads, "run", watch.run)
    monkeypatch.setattr(native_threads, "helpers", watch.helpers)
    monkeypatch.setattr(fill, "in_threads", watch.in_threads)
    return watch


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch, tuned):
    """Compute small arrays as large ones are."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    tuned(
        thread_bytes=1 << 12,
        chunk_bytes=1 << 14,
        scan_chunk_bytes=1 << 14,
        sort_run_bytes=1 << 14,
        sort_bytes=1,
        sort_line_bytes=1,
        sort_piece_bytes=1 << 14,
        fill_piece_bytes=1 << 14,
        clear_piece_bytes=1 << 14,
        permutation_chunk_bytes=1 << 14,
        compiled_ufunc_bytes=1,
        expression_piece_length=1 << 10,
    )


@pytest.fixture(autouse=True)
def no_collector_of_cycles():
    """Python drops what is raised in its callbacks, and in those of what it frees."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def alarm():
    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.signal(signal.SIGALRM, before)


@numba.njit(nogil=True)
def increase(x, y):
    for i in range(x.size):
        y[i] = x[i] + 1


N = 1 << 14
A = np.random.default_rng(0).permutation(N) / 7.0
B = A.reshape(128, 128)
GROUPS = A.astype(int) % 11
OUT = sharedmem.full(N, 0.0)
OUT_SEGMENT = find_segment(OUT.ctypes.data, OUT.nbytes)
CALLS = {
    "sum": lambda: sharedmem.sum(A),
    "sum_of_columns": lambda: sharedmem.sum(B, axis=0),
    "sum_of_rows": lambda: sharedmem.sum(B, axis=1),
    "cumsum": lambda: sharedmem.cumsum(A),
    "cumsum_of_columns": lambda: sharedmem.cumsum(B, axis=0),
    "histogram": lambda: sharedmem.histogram(A, bins=8)[0],
    "sort": lambda: sharedmem.sort(A),
    "median": lambda: sharedmem.median(A),
    "evaluate": lambda: sharedmem.evaluate("a * a + 1", a=A, out=OUT),
    "evaluate_sums": lambda: sharedmem.evaluate(["sum(a * b)", "var(a - b)"], a=B, b=B),
    "evaluate_rows": lambda: sharedmem.evaluate("mean(a * b, axis=0)", a=B, b=B[:, :1]),
    "group_reduce": lambda: sharedmem.group_reduce(A, GROUPS, func=["mean", "max"])[0],
    "apply_ufunc": lambda: sharedmem.apply_ufunc(np.sqrt, A, out=OUT),
    "apply_ufunc_by_chunks": lambda: sharedmem.apply_ufunc(np.arctan, A, out=OUT),
    "map_chunks": lambda: sharedmem.map_chunks(increase, A, out=OUT),
    "evaluate_to_new": lambda: sharedmem.evaluate("a - 1", a=A),
    "copy": lambda: sharedmem.copy(A),
    "full": lambda: sharedmem.full(N, 1.5),
    "random": lambda: sharedmem.random.uniform(out=OUT, seed=1),
}


# Calls whose results NumPy finishes, quietly.
FINISHED_CALLS = {
    "apply_ufunc_to_some": lambda: sharedmem.apply_ufunc(np.sqrt, A, out=OUT, where=A > 5),
    "average": lambda: sharedmem.average(A, weights=A),
    "clip": lambda: sharedmem.clip(A, 1, 2000),
    "dot": lambda: sharedmem.dot(A, A),
    "histogram_2d": lambda: sharedmem.histogram2d(A, A, bins=4)[0],
    "mean_of_some": lambda: sharedmem.mean(B, axis=0, where=B > 5),
    "moments": lambda: sharedmem.moments(B, axis=1),
    "nanmax": lambda: sharedmem.nanmax(A),
    "nanmean": lambda: sharedmem.nanmean(B, axis=0),
    "nanvar": lambda: sharedmem.nanvar(B, axis=0),
    "norm": lambda: sharedmem.norm(B, axis=1),
    "prod": lambda: sharedmem.prod(A),
    "prod_of_complex": lambda: sharedmem.prod(A * 1j / 3000),
    "quantile": lambda: sharedmem.quantile(A, [0.1, 0.7]),
    "std_of_float32": lambda: sharedmem.std(A.astype(np.float32)),
    "var": lambda: sharedmem.var(A),
    "var_of_some": lambda: sharedmem.var(B, axis=0, where=B > 5),
}


def strike_at_each_moment(call, helpers, step):
    """Call until a strike would come too late; return how many came."""
    error_state = np.geterr(), np.geterrcall()
    for at in itertools.count():
        strike = Strike(at, step, SIGNALS[at % len(SIGNALS)])
        raised = None
        try:
            try:
                sys.setprofile(strike)
                call()
            finally:
                sys.setprofile(None)
        except (KeyboardInterrupt, AlarmError) as error:
            raised = type(error)
        assert not helpers.working
        assert (blas._limits, blas._unlimited) == (set(), [])
        assert (np.geterr(), np.geterrcall()) == error_state, at
        if strike.n_left >= 0:
            return at
        assert raised is RAISED[strike.signals[-1]], at
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_an_exception_at_any_moment_ends_the_call(name, helpers):
    call = CALLS[name]
    with sharedmem.MapReduce(np=3), np.errstate(all="raise", call=ring):
        expected = np.array(call())
        assert helpers.n_calls
        n_strikes = 0
        for _ in strike_at_each_moment(call, helpers, step=5 if name == "sum" else 53):
            n_strikes += 1
            np.testing.assert_array_equal(call(), expected)
    assert n_strikes > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", FINISHED_CALLS)
def test_an_exception_at_any_moment_leaves_the_error_state(name, helpers):
    call = FINISHED_CALLS[name]
    with sharedmem.MapReduce(np=3), np.errstate(all="raise", call=ring):
        call()
        for _ in strike_at_each_moment(call, helpers, step=53):
            pass


MAKE = {
    "small": lambda: Segment(100),
    "large": lambda: Segment(HUGE_PAGE + 1),
    "small, with new memory": lambda: spare_memory.release() and Segment(100),
    "large, with new memory": lambda: spare_memory.release() and Segment(HUGE_PAGE + 1),
    "array": lambda: sharedmem.empty((3, 4)),
    "array, with a new arena": lambda: (small_arrays.release(), sharedmem.zeros(7)),
    "arrays that are made ahead": lambda: small_arrays.ready.clear() or sharedmem.ones(5),
    "private": lambda: map_privately(OUT_SEGMENT.fd, 4096),
}


@pytest.mark.parametrize("name", MAKE)
def test_an_exception_while_memory_is_made_or_freed(name, helpers, monkeypatch):
    """It arrives, also where it strikes while the memory is freed, and nothing is left."""
    # Reads files, which Python closes late, and with a warning, where it is interrupted.
    monkeypatch.setattr(segments, "total_memory", lambda: 1 << 60)
    spare_memory.largest_kept()
    before = look()
    n_strikes = sum(1 for _ in strike_at_each_moment(MAKE[name], helpers, step=1))
    assert n_strikes > 5
    assert left_since(before) == {}


def test_limits_on_threads_of_blas_are_lifted_with_the_last_one():
    def threads():
        return [library.get_num_threads() for library in blas.libraries()]

    before = threads()
    first, second = blas.Limit(1), blas.Limit(1)
    second.set()
    with blas.limited(1):
        first.set()
        assert set(threads()) == {1}
        exhaust(first.lifting)
    assert set(threads()) == {1}
    exhaust(second.lifting)
    assert threads() == before


def repeat(call):
    """Call until an exception comes, which it does within a second."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        call()


def test_interrupts_at_random_moments_of_a_map_in_threads():
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    pool = sharedmem.MapReduce(sharedmem.ThreadBackend, np=2)
    n_raised = 0
    for k in range(200):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-5 * k)
            repeat(lambda: pool.map(abs, range(4)))
        except KeyboardInterrupt:
            n_raised += 1
    assert n_raised == 200


@pytest.mark.slow
def test_a_hundred_strikes_of_array_calls():
    """A short version of what `make soak` does ten thousand times."""
    program = ROOT / "tests/faults/strikes.py"
    done = subprocess.run(
        [sys.executable, str(program), "--strikes", "100", "--elements", "65536"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.endswith(" strikes, 0 went wrong; left behind: nothing\n")


def test_interrupts_at_random_moments_while_memory_is_made_and_freed():
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    before, n_raised = look(), 0
    for k in range(200):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-4 + 2e-6 * k)
            repeat(lambda: sharedmem.empty(1000))
        except KeyboardInterrupt:
            n_raised += 1
    assert n_raised == 200
    assert left_since(before) == {}


def test_an_exception_at_any_moment_ends_work_in_threads(helpers):
    done = []
    n_strikes = 0
    for _ in strike_at_each_moment(
        lambda: helpers.in_threads(done.append, range(8), 3), helpers, step=1
    ):
        n_strikes += 1
        n_done = len(done)
        time.sleep(0.0005)
        assert len(done) == n_done
        done.clear()
        helpers.in_threads(done.append, range(8), 3)
        assert sorted(done) == list(range(8))
        done.clear()
    assert n_strikes > 40
