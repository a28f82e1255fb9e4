"""`sharedmem warm` compiles kernels that later processes find."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sharedmem
from sharedmem.cli import warming
from sharedmem.cli.main import main
from sharedmem.kernels import machine_code

ROOT = Path(__file__).parents[2]
LATER = """
import sys
import numpy as np, sharedmem
from sharedmem.kernels import machine_code
machine_code._write = lambda *args: sys.exit(f"{args[0]} was not compiled ahead")
numbers = np.arange(2**20, dtype=np.int32)
rng = np.random.default_rng(0)
mixed, ties = rng.permutation(numbers), numbers // 3
nearly, twins = numbers.copy(), mixed.astype("f4")
nearly[::999] = mixed[::999]
twins[:1000], twins[1000:2000], twins[2000:3000] = np.nan, 0.0, -0.0
for line in (
    numbers, mixed, ties, numbers[::-1], ties[::-1], nearly, twins, nearly.astype("f4"),
    np.append(numbers[::2], numbers[::-2]), np.append(ties[::2], ties[::-2]),
    np.append(numbers[:99], mixed), np.append(numbers, mixed[:99]),
):
    assert (sharedmem.sort(line) == np.sort(line))[~np.isnan(np.sort(line))].all()
    assert (sharedmem.argsort(line, kind="stable") == np.argsort(line, kind="stable")).all()
assert sharedmem.random.uniform(size=10, dtype="f4", seed=1).max() < 1
assert "numba" not in sys.modules
assert (sharedmem.bincount(numbers % 7) > 0).all()
"""


def run(*command, **environment):
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_later_processes_compile_nothing_and_do_without_numba(tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    names = ["bincount", "sort", "argsort", "random.uniform"]
    done = run("-m", "sharedmem", "warm", *names, "--dtype", "int32,f4", **environment)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "sharedmem-kernels"
    n_files = len([*folder.glob("*.code")])
    assert done.stdout == f"compiled {n_files} kernels, which are kept in {folder}\n"
    done = run("-c", LATER, **environment)
    assert done.returncode == 0, done.stderr
    assert len([*folder.glob("*.code")]) == n_files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sotr"], "'sotr' is not a function with kernels: did you mean sort?"),
        (["sum", "!"], "'!' is not a function with kernels; choose from accumulate, all, "),
        (["sum", "--workers", "-1"], "--workers must be at least 0, got -1"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_compiled(
    arguments, message, capsys, monkeypatch
):
    monkeypatch.setattr(warming, "warm", None)
    assert main(["warm", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"sharedmem warm: {message}")


@pytest.mark.parametrize(
    ("dtypes", "message"), [("f9", "'f9' is not a NumPy dtype"), ("f8,U3", "<U3 is not a dtype of")]
)
def test_invalid_dtypes_are_refused(dtypes, message, capsys):
    with pytest.raises(SystemExit):
        main(["warm", "sum", "--dtype", dtypes])
    assert message in capsys.readouterr().err


def test_a_folder_is_needed(capsys, monkeypatch):
    monkeypatch.setattr(machine_code, "folders", lambda: [Path("/dev/null/folder")])
    assert main(["warm", "sum"]) == 2
    assert "set NUMBA_CACHE_DIR" in capsys.readouterr().err


def test_each_function_is_called_with_all_it_needs():
    a = np.arange(2000) % 90
    with sharedmem.MapReduceByThread(np=1):
        for name in warming.functions():
            dtype = "f8" if name.startswith("random.") and name != "random.integers" else "i8"
            warming.call(warming.Task(name, dtype), a.astype(dtype))
