"""Machine code is made once, kept in files, and found there by later processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sharedmem.kernels import emitted, histograms, machine_code

CHILD = """
import os, pathlib, sys
import numpy as np
from sharedmem.kernels import histograms, machine_code
machine_code.folders = lambda: [pathlib.Path(os.environ["NUMBA_CACHE_DIR"])]
compiled = []
compile_text = machine_code.compile_text
machine_code.compile_text = lambda *args, **how: compiled.append(1) or compile_text(*args, **how)
counts = np.zeros(3, int)
histograms.tally(np.array([1, 1, 2]), counts)
assert counts.tolist() == [0, 2, 1]
assert "numba" not in sys.modules
print(len(compiled))
"""


def run(code, *args, **env):
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, env=env
    ).stdout.strip()


def is_compiled(**env):
    """Return whether a process compiles the kernel that it calls."""
    return run(CHILD, PYTHONPATH=".", **env) == "1"


def test_code_in_files_is_not_compiled_again(tmp_path):
    env = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert is_compiled(**env)
    assert not is_compiled(**env)
    (file,) = tmp_path.rglob("*.code")
    for damaged in (b"", b"damaged", file.read_bytes()[:-1], file.read_bytes() + b"more"):
        file.write_bytes(damaged)
        assert is_compiled(**env)
        assert not is_compiled(**env)


def test_code_for_processors_of_several_kinds_is_side_by_side(tmp_path):
    env = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert is_compiled(**env)
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    assert is_compiled(**env, **generic)
    assert not is_compiled(**env, **generic)
    assert not is_compiled(**env)
    assert len([*tmp_path.rglob("*.code")]) == 2


def test_code_of_another_key_is_not_taken(tmp_path):
    env = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert is_compiled(**env)
    (ours,) = tmp_path.rglob("*.code")
    assert is_compiled(**env, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    (others,) = {*tmp_path.rglob("*.code")} - {ours}
    ours.write_bytes(others.read_bytes())
    assert is_compiled(**env)
    assert not is_compiled(**env)


def test_folders_of_code(monkeypatch, tmp_path):
    beside = Path(machine_code.__file__).resolve().parent / "__pycache__"
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert [*machine_code.folders()] == [beside, tmp_path / "home/sharedmem"]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert [*machine_code.folders()][:2] == [tmp_path / "sharedmem-kernels", beside]
    assert machine_code.writable_folder() == tmp_path / "sharedmem-kernels"


ALIKE = """
import sys
import numpy as np
from sharedmem.kernels import extrema, nan_reductions
x = np.arange(300.0).reshape(1, 300, 1)
f8 = np.dtype("f8")
x[0, 7] = np.nan
reductions = {"extrema": extrema.minmax(f8), "nan extrema": nan_reductions._minmax(f8)}
for name in sys.argv[1:]:
    print(name, *(float(part[0, 0]) for part in reductions[name].chunk(x)))
"""


def test_kernels_of_one_name_cached_by_several_processes_are_told_apart(tmp_path):
    env = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": "."}
    names = ["extrema", "nan extrema"]
    alone = [run(ALIKE, name, **env) for name in names]
    assert alone == ["extrema nan nan", "nan extrema 0.0 299.0"]
    assert run(ALIKE, *names, **env).splitlines() == alone
    assert run(ALIKE, *reversed(names), **env).splitlines() == alone[::-1]


@pytest.mark.parametrize("where", ["full", "no folder"])
def test_kernels_work_without_a_writable_cache(where, monkeypatch, tmp_path):
    def fail(*args):
        raise OSError(28, "No space left on device")

    if where == "full":
        monkeypatch.setattr(machine_code.Path, "write_bytes", fail)
    else:
        (tmp_path / "file").touch()
    folder = tmp_path / "file"
    monkeypatch.setattr(machine_code, "folders", lambda: [folder])
    monkeypatch.setattr(machine_code, "_loaded", {})
    emitted._code.cache_clear()
    counts = np.zeros(2, int)
    histograms.tally(np.array([0, 1, 1]), counts)
    assert counts.tolist() == [1, 2]
    assert not [*tmp_path.rglob("*.code")]
    emitted._code.cache_clear()  # what has no file
