"""A suite of tests that use pools, run by the workers of pytest-xdist."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("xdist")

ROOT = Path(__file__).parents[2]
SUITE = """
import os
import sharedmem

import pytest


@pytest.fixture(scope="module", params=[False, True])
def pool(request):
    with sharedmem.MapReduce(np=2, persistent=request.param) as pool:
        yield pool


@pytest.mark.parametrize("n", range(4))
def test_map(pool, n):
    assert os.environ["PYTEST_XDIST_WORKER"].startswith("gw")
    assert pool.map(lambda i: i + n, range(3)) == [n, n + 1, n + 2]


def test_imap(pool):
    assert list(pool.imap(abs, (-1, -2))) == [1, 2]


def test_a_task_that_fails(pool):
    with pytest.raises(sharedmem.WorkerException, match="division by zero"):
        pool.map(lambda i: 1 / i, range(3))


def test_an_executor():
    with sharedmem.Executor(2) as executor:
        assert executor.submit(pow, 2, 5).result() == 32
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_pools_work_inside_of_workers_of_xdist(tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-n2", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "13 passed" in done.stdout, done.stdout + done.stderr
