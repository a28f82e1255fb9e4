"""Forked workers when their coordinator dies, signals arrive, or the system refuses something."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import pytest

import sharedmem
from interrupts import Strike
from sharedmem import MapReduce, ProcessBackend, ThreadBackend, WorkerException
from sharedmem.machine.signals import signals_held

PRELUDE = """
import os, signal, sys, time, numpy as np, sharedmem
from sharedmem import MapReduce
pids = sharedmem.zeros(2, "i8")
def announce(i):
    pids[i] = os.getpid()
    while not pids.all():
        time.sleep(0.001)
    if i == 0:
        print(*pids, flush=True)
"""


def start(program, **options):
    source = PRELUDE + textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, **options
    )


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_gone(pids, seconds=2.0):
    limit = time.monotonic() + seconds
    while any(map(is_alive, pids)):
        assert time.monotonic() < limit, f"still alive: {[pid for pid in pids if is_alive(pid)]}"
        time.sleep(0.005)


BUSY = {
    "sleep": "time.sleep(60)",
    "python": "while True: pass",
    "kernel": "spin(10**15)",
}
SPIN = """
import numba
@numba.njit("i8(i8)", nogil={nogil})
def spin(n):
    total = 0
    for i in range(n):
        total += total ^ i
    return total
"""


@pytest.mark.parametrize(
    ("task", "end"),
    [
        # The kernel is compiled each time.
        pytest.param(task, end, marks=[pytest.mark.slow] * (task == "kernel"))
        for task in BUSY
        for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)
    ],
)
def test_workers_are_killed_when_their_coordinator_dies(task, end):
    program = (SPIN.format(nogil=False) if task == "kernel" else "") + textwrap.dedent(f"""
        def work(i):
            announce(i)
            {BUSY[task]}
        MapReduce(np=2).map(work, range(2))
        """)
    with start(program) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert all(map(is_alive, pids))
        process.send_signal(end)
        assert process.wait(5) == -end
        assert_gone(pids)


def test_workers_are_killed_even_if_another_child_of_the_coordinator_lives():
    program = """
        def work(i):
            announce(i)
            time.sleep(60)
        def fork_another():
            time.sleep(0.2)
            if os.fork() == 0:
                os.close(1)
                time.sleep(5)
                os._exit(0)
        import threading
        threading.Thread(target=fork_another).start()
        MapReduce(np=2).map(work, range(2))
        """
    with start(program) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(0.4)
        process.kill()
        assert_gone(pids)


def test_ctrl_c_raises_once_and_workers_print_nothing():
    program = """
        def work(i):
            announce(i)
            time.sleep(60)
        try:
            MapReduce(np=2).map(work, range(2))
        except KeyboardInterrupt:
            print("interrupted", MapReduce(np=2).map(abs, [-1, -2]))
        """
    with start(program, stderr=subprocess.PIPE, start_new_session=True) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=5)
        assert out == "interrupted [1, 2]\n"
        assert err == ""
        assert_gone(pids)


def test_exit_handlers_and_finalizers_of_the_coordinator_run_once():
    program = """
        import atexit, weakref
        class Thing: pass
        thing = Thing()
        weakref.finalize(thing, print, "finalized")
        atexit.register(print, "at exit")
        MapReduce(np=3).map(abs, range(3))
        """
    with start(program) as process:
        out, _ = process.communicate(timeout=10)
    assert sorted(out.splitlines()) == ["at exit", "finalized"]


def test_a_sigchld_handler_that_reaps_workers():
    def reap(*_):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        pool = MapReduce(np=2)
        assert pool.map(lambda i: i, range(100)) == list(range(100))
        with pytest.raises(WorkerException, match=r"SIGCHLD|SIGKILL"):
            pool.map(lambda i: os.kill(os.getpid(), signal.SIGKILL), range(2))
    finally:
        # One that is tripped when its handler goes would be reported by Python, as lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        signal.signal(signal.SIGCHLD, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def test_a_signal_waits_until_workers_are_forked():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)  # does not block the signal
    thread.start()
    inside = []

    def interrupt():
        with signals_held():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            inside.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        stop.set()
        thread.join()
    assert inside
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_coverage_of_workers_is_saved(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(sharedmem.__file__).parents[1]))
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import sharedmem
        def work(i):
            if i % 2:
                return "odd"
            return "even"
        sharedmem.MapReduce(np=2).map(work, range(10))
        """)
    )
    monkeypatch.chdir(tmp_path)
    for command in (
        ["run", "--branch", f"--include={program}", str(program)],
        ["combine", "--append"],
        ["report", "--fail-under=100"],
    ):
        subprocess.run([sys.executable, "-m", "coverage", *command], check=True, timeout=60)


def test_a_thread_that_waits_for_every_child():
    stop = threading.Event()

    def reap():
        while not stop.is_set():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        for _ in range(20):
            assert MapReduce(np=3).map(abs, range(3)) == [0, 1, 2]
    finally:
        stop.set()
        thread.join()


def test_a_worker_that_closes_all_its_descriptors():
    with pytest.raises(WorkerException, match="exited with status 1"):
        MapReduce(np=1).map(lambda i: os.closerange(3, 1000), range(1))


def test_a_grandchild_that_outlives_its_task():
    def work(i):
        if os.fork() == 0:
            time.sleep(0.3)
            os._exit(0)
        return i

    assert MapReduce(np=2).map(work, range(2)) == [0, 1]


def test_a_stopped_worker_is_killed_after_the_timeout():
    pool = MapReduce(np=2, timeout=0.3)
    with pytest.raises(TimeoutError):
        pool.map(lambda i: os.kill(os.getpid(), signal.SIGSTOP), range(2))


def test_systems_without_pidfd(monkeypatch):
    monkeypatch.setattr("sharedmem.workers.child_process._PIDFD_WORKS", False)
    pool = MapReduce(np=2)
    assert pool.map(lambda i: i, range(100)) == list(range(100))
    with pytest.raises(WorkerException, match="SIGKILL"):
        pool.map(lambda i: os.kill(os.getpid(), signal.SIGKILL), range(2))


def test_systems_without_semaphores_in_memory(monkeypatch):
    monkeypatch.setattr("sharedmem.workers.locks.semaphore_type", lambda: None)
    pool = MapReduce(np=3)
    count = sharedmem.zeros((), "i8")

    def work(i):
        with pool.ordered, pool.critical:
            count[()] += 1

    pool.map(work, range(200))
    assert count == 200


def test_a_fork_of_the_coordinator_does_not_end_its_workers():
    pool = MapReduce(np=2)
    results = pool.imap(lambda i: i, range(100))
    assert next(results) == 0
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            next(itertools.islice(results, 90, None))
        except RuntimeError as error:
            status = "is a fork" not in str(error)
        finally:
            del results
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(results) == list(range(1, 100))


def test_interrupts_are_not_left_blocked():
    def hold_until(strike):
        strike.start()
        while True:
            with signals_held():
                pass

    for at in range(150):
        delay = 1e-3 * (at % 50) / 50
        strike = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            hold_until(strike)
        strike.join()
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# An interrupt in a finalizer is lost by Python.
@pytest.mark.timeout(300)  # Half a minute where nothing else runs.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("backend", "step"), [(ThreadBackend, 5), (ProcessBackend, 121)])
def test_a_pool_works_again_after_an_interrupt_at_any_call(backend, step):
    pool = MapReduce(backend, np=2)
    n_interrupts = 0
    # Each version of Python begins at another call.
    for at in itertools.count(7 * sys.version_info.minor % step, step):
        strike = Strike(at)
        try:
            with strike:
                pool.map(abs, range(6), reduce=abs)
        except KeyboardInterrupt:
            n_interrupts += 1
        assert pool.map(abs, range(-5, 0)) == [5, 4, 3, 2, 1]
        if strike.n_left >= 0:
            break
    assert n_interrupts > 0.9 * at / step > 20


@contextlib.contextmanager
def filters(*actions):
    """Apply these warning filters only; return the list of warnings."""
    with warnings.catch_warnings(record=True) as log:
        warnings.resetwarnings()
        for action in actions:
            warnings.simplefilter(action)
        yield log


def test_workers_inherit_warning_filters():
    def warn(i):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return i

    pool = MapReduce(np=2)
    with filters("error"):
        assert pool.map(lambda i: repr(warnings.filters), range(2)) == [repr(warnings.filters)] * 2
        with pytest.raises(WorkerException, match="DeprecationWarning: old"):
            pool.map(warn, range(2))
    with filters("error", "ignore"):
        assert pool.map(warn, range(2)) == [0, 1]


@pytest.mark.parametrize("call", ["map", "imap", "background"])
def test_a_call_does_not_change_warning_filters_and_registries(call):
    pool = MapReduce(np=2)
    calls = {
        "map": lambda: pool.map(abs, range(2)),
        "imap": lambda: list(pool.imap(abs, range(2))),
        "background": lambda: sharedmem.background(abs, 1).wait(),
    }
    with filters("default") as log:
        before = warnings.filters, list(warnings.filters)
        for _ in range(3):
            warnings.warn("once a line", UserWarning, stacklevel=1)
            calls[call]()
        assert (warnings.filters, list(warnings.filters)) == before
        assert warnings.filters is before[0]
    assert [str(warning.message) for warning in log] == ["once a line"]


def test_forks_in_several_threads_do_not_change_warning_filters():
    """Python 3.12 would warn of each of them."""
    ends = []

    def work():
        pool = MapReduce(np=2)
        ends.extend(pool.map(abs, range(-2, 0)) for _ in range(10))

    with filters("always") as log:  # as an error it would be dropped
        before = list(warnings.filters)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(warnings.filters) == before
    assert log == []
    assert ends == [[2, 1]] * 30


def test_each_worker_has_its_own_life_line():
    """Before Linux 5.6, one that closed it would have sent the signal to all that share it."""

    def lines(_):
        found = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # of the listing itself
                if fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_ASYNC:
                    found.append(os.fstat(int(name)).st_ino)
        return found

    found = MapReduce(np=3).map(lines, range(3))
    assert [len(lines) for lines in found] == [1, 1, 1]
    assert len({line for (line,) in found}) == 3


def test_a_seeded_pool_imports_numpy_random_once_and_not_in_each_worker():
    program = (
        "import sys, sharedmem; sharedmem.MapReduce(np=2, seed=1).map(abs, range(2));"
        "print('numpy.random' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
