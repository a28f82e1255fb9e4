"""Calls leave nothing behind; the fixture that fails tests which do so works."""

import gc
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sharedmem
from leftovers import left_since, look

ROOT = Path(__file__).parents[2]

LEAKS = {
    "process": 'kept.append(subprocess.Popen(["sleep", "60"]))',
    "zombie": "os.fork() or os._exit(0)",
    "descriptor": "os.pipe()",
    "thread": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "segment": "kept.append(sharedmem.zeros(10))",
    "file": 'open(f"/dev/shm/sharedmem-test-{os.getpid()}", "w").close()',
}


@pytest.mark.slow
def test_each_leak_is_found(tmp_path):
    shutil.copy(ROOT / "tests/leftovers.py", tmp_path)
    fixture = (ROOT / "tests/conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(
        re.sub("GRACE_SECONDS = .*", "GRACE_SECONDS = 0.1", fixture)
    )
    program = "import os, subprocess, threading, time\nimport sharedmem\nkept = []\n"
    program += "def test_nothing():\n    sharedmem.MapReduce(np=2).map(abs, range(3))\n"
    for name, statement in LEAKS.items():
        program += f"def test_{name}():\n    {statement}\n"
    program += "def teardown_module():\n    kept[0].kill(); kept[0].wait()\n"
    program += '    os.unlink(f"/dev/shm/sharedmem-test-{os.getpid()}")\n'
    (tmp_path / "test_all.py").write_text(program)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            ".",
            "-c",
            "/dev/null",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = re.findall(r"^ERROR \S+::test_(\w+)", done.stdout, re.MULTILINE)
    assert found == list(LEAKS), done.stdout
    assert "7 passed, 6 errors" in done.stdout


@pytest.fixture
def no_garbage_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("backend", [sharedmem.ProcessBackend, sharedmem.ThreadBackend])
def test_no_call_leaves_anything_to_the_garbage_collector(backend, no_garbage_collection):
    pool = sharedmem.MapReduce(backend, np=2)
    before = look()

    def reduce(i):
        with pool.critical, pool.ordered:
            return i

    assert pool.map(abs, range(9), reduce=reduce) == list(range(9))
    with pytest.raises(sharedmem.WorkerException):
        pool.map(lambda i: 1 // i, range(9))
    assert list(pool.imap(abs, range(9))) == list(range(9))
    assert next(pool.imap_unordered(abs, iter(range(9)))) in range(9)
    assert sharedmem.sum(sharedmem.ones(1000)) == 1000
    assert not left_since(before)
