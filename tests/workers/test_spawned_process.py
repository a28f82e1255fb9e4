"""Spawned workers: how they start, what they inherit, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import sharedmem
from sharedmem import WorkerException
from sharedmem.machine.signals import signals_held
from sharedmem.workers.spawn_team import spawn_team

pytestmark = pytest.mark.slow

# On one core two interpreters, which import NumPy, take a second to start.
PATIENCE = 20


def results_of(work, n_workers=1, **options):
    """Return what workers add, by rank."""

    def main(rank, port):
        port.start(rank)
        port.add([work(rank)])
        port.flush()
        port.finish()

    found = {}
    with signals_held():
        team = spawn_team(n_workers, main, lambda rank: "while it worked.", fed=False, **options)
    try:
        while messages := team.receive(time.monotonic() + PATIENCE):
            for rank, message in messages:
                if message.value:
                    found[rank] = message.value[0][0]
    finally:
        team.end(patient=True)
    return [found[rank] for rank in range(n_workers)]


def test_workers_are_other_interpreters_and_share_arrays():
    pids = sharedmem.zeros(3, "i8")
    private = np.arange(100_000)

    def work(rank):
        pids[rank] = os.getpid()
        private[0] = rank  # in a copy
        return rank, int(private.sum()), "numba" in sys.modules

    total = int(private.sum())
    assert results_of(work, 3) == [(rank, total + rank, False) for rank in range(3)]
    assert len({*pids.tolist(), os.getpid()}) == 4
    assert private[0] == 0


def test_workers_have_the_settings_of_this_interpreter(monkeypatch, tmp_path):
    (tmp_path / "found_only_there.py").write_text("value = 17")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "argv", ["program", "argument"])
    monkeypatch.setenv("SOME_VARIABLE", "its value")
    monkeypatch.chdir(tmp_path)

    def work(rank):
        import found_only_there

        here = str(Path.cwd())
        return found_only_there.value, sys.argv, os.environ["SOME_VARIABLE"], here, [*sys.flags]

    expected = 17, ["program", "argument"], "its value", str(tmp_path), [*sys.flags]
    assert results_of(work) == [expected]


@pytest.mark.parametrize("n_threads", [None, 1])
def test_libraries_in_workers_have_so_many_threads(monkeypatch, n_threads):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")

    def work(rank):
        return os.environ["OPENBLAS_NUM_THREADS"]

    assert results_of(work, n_threads=n_threads) == ["2" if n_threads is None else "1"]


def test_workers_inherit_no_other_descriptors():
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)

    def work(rank):
        return os.access(f"/proc/self/fd/{write_end}", os.F_OK)

    assert results_of(work) == [False]
    os.close(write_end)
    os.close(read_end)


def test_blocked_signals_are_blocked_in_workers():
    def work(rank):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return sorted(mask), callable(signal.getsignal(signal.SIGINT))

    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        assert results_of(work) == [([signal.SIGUSR1], True)]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_relative_entries_of_the_path_mean_what_they_meant_before_chdir(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "beside.py").write_text("value = 1")
    (tmp_path / "sub" / "below.py").write_text("value = 2")
    done = run(
        """
        import os, sys
        sys.path[:0] = ["", "sub"]
        import beside, below, sharedmem
        os.chdir("/")
        print(results_of(lambda rank: (beside.value, below.value)))
        """,
        cwd=tmp_path,
    )
    assert done.stdout == "[(1, 2)]\n", done.stderr


SOURCE = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), *filter(None, sys.path)]!r}
import os, signal, threading, time
from pathlib import Path
import sharedmem
from test_spawned_process import results_of
from sharedmem.machine.signals import signals_held
from sharedmem.workers.spawn_team import spawn_team
"""


def source(program):
    return SOURCE + textwrap.dedent(program)


def run(program, **options):
    return subprocess.run(
        [sys.executable, "-c", source(program)],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_an_interpreter_without_a_program_cannot_spawn(monkeypatch, tmp_path):
    import multiprocessing.spawn

    for path in ("", str(tmp_path / "python")):
        monkeypatch.setattr(multiprocessing.spawn, "_python_exe", path)
        with pytest.raises(FileNotFoundError, match=r"set the path of the Python interpreter"):
            results_of(lambda rank: rank)
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", sys.executable)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(FileNotFoundError, match=r"this program, not an interpreter"):
        results_of(lambda rank: rank)


def test_work_that_cannot_be_pickled_is_refused_before_anything_starts():
    lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        results_of(lambda rank: lock)


def test_a_module_that_workers_cannot_import(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def f(rank): return rank")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here

    (tmp_path / "only_here.py").write_text("1 / 0")
    with pytest.raises(WorkerException, match="could not load what it is to do") as caught:
        results_of(only_here.f)
    assert isinstance(caught.value.reason, ZeroDivisionError)


def test_a_worker_whose_interpreter_does_not_start(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(WorkerException, match=r"exited with status 1 while it worked"):
        results_of(lambda rank: rank, 2)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 0.1, 0.2, 0.4])
def test_a_worker_that_is_killed_while_it_starts(seconds):
    with signals_held():
        team = spawn_team(2, _wait_for_messages, lambda rank: "in a test.", fed=True)
    time.sleep(seconds)
    os.kill(team._members[0].process.pid, signal.SIGKILL)
    with pytest.raises(WorkerException, match="was killed by SIGKILL in a test"):
        team.receive(time.monotonic() + PATIENCE)
    team.end(patient=False)


def _wait_for_messages(rank, port):
    while port.receive():
        pass


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.1, 0.3, 1.0])
def test_workers_are_killed_when_their_coordinator_dies(seconds):
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            source(
                """
                def work(rank, port):
                    while True:
                        pass
                team = spawn_team(2, work, str, fed=True)
                print(*(member.process.pid for member in team._members), flush=True)
                time.sleep(60)
                """
            ),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(seconds)
        process.kill()
        process.wait()
        limit = time.monotonic() + 2
        while any(map(_is_running, pids)):
            assert time.monotonic() < limit
            time.sleep(0.005)


def _is_running(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_ctrl_c_while_interpreters_start():
    """It reaches the whole process group, also workers that have no handler yet."""
    program = """
        for at in range(8):
            strike = threading.Timer(0.05 * at, os.killpg, (os.getpgrp(), signal.SIGINT))
            try:
                strike.start()
                results_of(lambda rank: time.sleep(60), 2)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            strike.join()
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        print(results_of(lambda rank: rank, 2), children)
        """
    done = run(program, start_new_session=True)
    assert done.stdout.split("\n") == ["interrupted"] * 8 + ["[0, 1] ", ""]
    assert done.stderr == ""
