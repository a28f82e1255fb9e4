"""The fixture that fails tests which leave something behind does so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

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
    for file in ("conftest.py", "leftovers.py"):
        shutil.copy(ROOT / "tests" / file, tmp_path)
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
