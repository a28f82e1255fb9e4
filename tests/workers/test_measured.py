"""Tools that measure programs see forked workers."""

import json
import os
import subprocess
import sys
from multiprocessing import util
from pathlib import Path

import pytest

from sharedmem import MapReduce

PROGRAM = """
import sharedmem

def task_of_worker(i):
    return i + 1

def task_of_coordinator(i):
    return i + 1

task_of_coordinator(1)
print(sharedmem.MapReduce(np=2).map(task_of_worker, range(4), chunksize=1))
"""


def test_hooks_of_multiprocessing_are_called_around_a_worker(tmp_path):
    class Tool:
        def __init__(self):
            self.calls = ["coordinator"]
            self.finalizer = util.Finalize(self, self.save, exitpriority=-1)
            util.register_after_fork(self, Tool.begin)

        def begin(self):
            self.calls = ["worker"]
            util.Finalize(self, self.save, exitpriority=-1)

        def save(self):
            (tmp_path / str(os.getpid())).write_text(" ".join(self.calls))

    tool = Tool()
    try:
        ranks = MapReduce(np=2).map(lambda i: tool.calls.append("task") or os.getpid(), range(4))
        files = {int(path.name): path.read_text().split() for path in tmp_path.iterdir()}
        assert {*ranks} <= {*files}
        assert os.getpid() not in files
        for pid, calls in files.items():
            assert calls == ["worker"] + ["task"] * ranks.count(pid)
    finally:
        tool.finalizer.cancel()


def test_a_queue_that_nobody_reads_does_not_keep_a_worker():
    import multiprocessing

    queue = multiprocessing.get_context("fork").Queue()
    assert MapReduce(np=1).map(lambda i: queue.put(b"x" * 1_000_000), range(1)) == [None]
    queue.cancel_join_thread()
    queue.close()


def test_viztracer_sees_the_tasks_of_workers(tmp_path):
    viztracer = pytest.importorskip("viztracer")
    assert viztracer
    (tmp_path / "program.py").write_text(PROGRAM)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "viztracer",
            "--quiet",
            "-o",
            "all.json",
            "program.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=True,
    )
    events = json.loads(Path(tmp_path, "all.json").read_text())["traceEvents"]
    seen = {
        name: [event["pid"] for event in events if event["name"].startswith(name)]
        for name in ("task_of_worker", "task_of_coordinator")
    }
    assert len(seen["task_of_worker"]) == 4
    assert len(seen["task_of_coordinator"]) == 1
    assert seen["task_of_coordinator"][0] not in seen["task_of_worker"]
