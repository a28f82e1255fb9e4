"""Calls on a cluster whose workers, scheduler, or coordinator die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sharedmem
from sharedmem import WorkerException

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(120)


def test_tasks_of_a_killed_worker_are_run_again(pool):
    n_kills = sharedmem.zeros((), dtype=int)

    def work(i):
        if i == 7 and n_kills[()] == 0:
            n_kills[...] = 1
            os.kill(os.getpid(), signal.SIGKILL)
        with pool.ordered:
            time.sleep(0.001)
        return i, pool.rng.random()

    found = pool.map(work, range(40), chunksize=2)
    assert n_kills[()] == 1
    assert [i for i, _ in found] == list(range(40))
    assert len({number for _, number in found}) == 40


def test_a_critical_section_is_released_when_its_holder_dies(pool):
    n_entered = sharedmem.zeros((), dtype=int)

    def work(i):
        with pool.critical:
            n_entered[...] += 1
            if n_entered[()] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        return i

    assert pool.map(work, range(6), chunksize=1) == list(range(6))
    assert n_entered[()] == 7


def test_a_task_that_repeatedly_kills_its_worker_is_named(pool):
    def work(i):
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with pytest.raises(WorkerException, match=r"Task 5 \(item: 5\) was run 2 times") as got:
        pool.map(work, range(8), chunksize=4)
    assert isinstance(got.value.reason, sharedmem.DeadWorkerError)
    assert pool.map(abs, [-1, -2]) == [1, 2]


SCRIPT = """
import os, signal, threading, time
import dask, distributed, sharedmem
from leftovers import children

def main():
    dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        started = sharedmem.zeros(4)
        def work(i):
            started[i] += 1
            time.sleep(1)
        pool = sharedmem.MapReduce(sharedmem.DaskBackend(client))
        def call(strike):
            def wait():
                while not started.any():
                    time.sleep(0.01)
                strike()
            started[:] = 0
            threading.Thread(target=wait).start()
            pool.map(work, range(4), chunksize=1)
        try:
            call(lambda: os.kill(os.getpid(), signal.SIGINT))
        except KeyboardInterrupt:
            deadline = time.monotonic() + 5
            while cluster.scheduler.tasks and time.monotonic() < deadline:
                time.sleep(0.05)
            print("KeyboardInterrupt", dict(cluster.scheduler.tasks), started.sum() < 3)
        try:
            call(lambda: client.loop.add_callback(cluster.scheduler.close))
        except ConnectionError as error:
            print("ConnectionError", error)
    print(children())

if __name__ == "__main__":
    main()
"""


def run_script(tmp_path, text):
    script = tmp_path / "script.py"
    script.write_text(text)
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ctrl_c_leaves_nothing_running_and_a_lost_scheduler_raises(tmp_path):
    interrupted, gone, left = run_script(tmp_path, SCRIPT).splitlines()
    assert interrupted == "KeyboardInterrupt {} True"
    assert gone.startswith("ConnectionError the cluster is gone")
    assert left == "set()"


OWN_CLUSTER = """
import logging, sys
import sharedmem
from leftovers import children

def main():
    n_cores = sharedmem.cpu_count()
    logger = logging.getLogger("sharedmem")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler(sys.stdout))
    with sharedmem.MapReduce(sharedmem.DaskBackend()) as pool:
        print(pool.map(abs, [-1, -2]) == [1, 2], pool.np == n_cores == sharedmem.cpu_count())
    print(children())

if __name__ == "__main__":
    main()
"""


def test_a_local_cluster_starts_and_ends_with_the_pool(tmp_path):
    started, *rest = run_script(tmp_path, OWN_CLUSTER).splitlines()
    assert "started a cluster of this machine: LocalCluster" in started
    assert rest == ["True True", "set()"]


def test_errors_are_results(pool):
    tries = sharedmem.zeros(8, dtype=int)

    def work(i):
        tries[i] += 1
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        with pool.ordered:
            if i == 2 or (i == 6 and tries[i] < 3):
                raise ValueError(i)
        return i

    results = pool.map(work, range(8), return_exceptions=True, retries=2)
    assert [r for r in results if isinstance(r, int)] == [0, 1, 3, 4, 6, 7]
    assert results[2].reason.args == (2,)
    assert isinstance(results[5].reason, sharedmem.DeadWorkerError)
    results = list(pool.imap(lambda i: 1 // i, range(-1, 2), return_exceptions=True))
    assert results[::2] == [-1, 1]
    assert isinstance(results[1].reason, ZeroDivisionError)
    with pytest.raises(ValueError, match="task of DaskBackend cannot be ended"):
        pool.map(work, range(8), task_timeout=1)
