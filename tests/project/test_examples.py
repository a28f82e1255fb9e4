"""Tests that the examples pass their own checks and draw their pictures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["mandelbrot", "gray_scott", "pair_distances"])
def test_examples_pass_their_checks(name, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / f"examples/{name}.py", "--quick", "--output", "picture.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "same" in done.stdout
    assert done.stdout.endswith("wrote picture.png\n")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
