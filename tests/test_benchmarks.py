import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_contenders_agree_and_make_a_table(tmp_path):
    # This package stands in for 0.3.8, whose programs it runs.
    old_python = tmp_path / "python"
    old_python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    old_python.chmod(0o755)
    command = [sys.executable, ROOT / "benchmarks/foundation.py", "--quick", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--old-python", old_python],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 10
    assert all(len(row.split(" | ")) == 6 for row in rows)
