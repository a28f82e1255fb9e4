"""`sharedmem info`, and the entry point."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import sharedmem
from sharedmem.cli.main import main

ROOT = Path(__file__).parents[2]


def test_info(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert {"cores", "workers", "memory", "memfd", "sharedmem", "Python"} <= set(lines)
    assert "MADV_COLLAPSE" in lines["huge"]
    assert lines["Python"] == ".".join(map(str, sys.version_info[:3]))
    cache = Path(next(line for line in text.splitlines() if "kernel cache" in line).split()[2])
    np.testing.assert_array_equal(sharedmem.bincount(np.zeros(10**6, "i8")), [10**6])
    assert any("tally" in file.name for file in cache.iterdir())


def test_the_module_runs_the_same_command():
    command = [sys.executable, "-m", "sharedmem", "stats", "--bins", "0", "missing.npy"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("sharedmem stats: argument --bins")
