"""Kernels are compiled once, kept in files, and called by address."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import CPUDispatcher

from sharedmem.kernels import histograms, machine_code
from sharedmem.kernels.compile import Kernel, kernel, part
from sharedmem.kernels.dots import two_sum
from sharedmem.kernels.loops.intrinsics import on_stack

CHILD = """
import os, pathlib, sys
import numpy as np
from sharedmem.kernels import histograms, machine_code
machine_code.folders = lambda: [pathlib.Path(os.environ["NUMBA_CACHE_DIR"])]
assert not histograms.tally.forms, "importing has compiled a kernel"
counts = np.zeros(3, int)
histograms.tally(np.array([1, 1, 2]), counts)
assert counts.tolist() == [0, 2, 1]
print("numba" in sys.modules)
"""


def run(code, *args, **env):
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, env=env
    ).stdout.strip()


def is_compiled(**env):
    """Return whether a process compiles the kernel, which is the same as to import numba."""
    return run(CHILD, PYTHONPATH=".", **env) == "True"


def test_code_in_files_is_called_without_numba(tmp_path):
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
    again = Kernel(histograms.tally.py_func)
    counts = np.zeros(2, int)
    again(np.array([0, 1, 1]), counts)
    assert counts.tolist() == [1, 2]
    assert not [*tmp_path.rglob("*.code")]


def test_arguments_are_those_that_numba_would_be_given():
    @kernel
    def tell(x, numbers, out):
        n, (scale, is_on), nothing, narrow, large = numbers
        out[0, 0], out[0, 1] = x.shape
        out[1, 0], out[1, 1] = x[1, 0], x[0, 2]
        out[2, 0] = n * scale if is_on else 0
        out[2, 1] = narrow + (0 if nothing is None else 1)
        out[3, 0] = large // np.uint64(2)
        out[3, 1] = x.strides[1]

    @kernel
    def back(number):
        return number

    x = np.arange(12, dtype=np.int32).reshape(3, 4)
    numbers = -3, (0.5, np.True_), None, np.float32(0.25), np.uint64(2**52 - 2)
    for a in (x, x.T[1:].T, np.asfortranarray(x), x[:, ::-1]):
        out = np.zeros((4, 2))
        tell(a, numbers, out)
        expected = [*a.shape, a[1, 0], a[0, 2], -1.5, 0.25, 2**51 - 1, a.strides[1]]
        assert out.ravel().tolist() == expected
    for number in (-1, 2**62, 0.1, True, np.uint64(2**64 - 1), np.float32(0.1), np.int8(-7)):
        assert back(number) == number
    assert back((1, -2.5, np.uint64(2**63), False)) == (1, -2.5, 2**63, False)
    assert back(None) is None


def test_kernels_refuse_what_is_no_array_and_no_number():
    with pytest.raises(TypeError, match="arrays, numbers, and tuples, got a str"):
        histograms.tally("text", np.zeros(3, int))


def test_arrays_on_the_stack_are_apart():
    four, pairs = on_stack(4), on_stack(3, 2)

    @kernel
    def sums(x):
        a, b = four(x), pairs(np.int64)
        for i in range(4):
            a[i] = x[i]
        for i in range(3):
            b[i, 0], b[i, 1] = i, 10 * i
        return a.sum(), b[2, 1], b.shape[1]

    assert sums(np.arange(4.0)) == (6.0, 20, 2)


def test_kernels_that_need_more_than_the_c_library_are_refused():
    @kernel
    def allocate(n):
        return len(np.empty(n))

    with pytest.raises(Exception, match="empty"):
        allocate(3)


def test_kernels_can_be_called_by_users_kernels():
    @numba.njit
    def error_of(a, b):
        return two_sum(a, b)[1]

    assert error_of(1.0, 1e-20) == 1e-20


def test_kernels_divide_as_numpy_does():
    @kernel
    def divide(a, b):
        return a / b

    assert np.isinf(divide(1.0, 0.0))


def test_kernels_are_compiled_where_numba_is_disabled():
    code = "\n".join([CHILD, "import numba; assert numba.config.DISABLE_JIT"])
    env = {"NUMBA_DISABLE_JIT": "1", "NUMBA_CACHE_DIR": os.devnull, "PYTHONPATH": "."}
    assert run(code, **env)


def test_parts_cannot_be_called_from_python():
    with pytest.raises(TypeError, match="two_sum is a part of kernels"):
        two_sum(1.0, 2.0)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (CPUDispatcher, "compile"),
        (JITCodeLibrary, "_optimize_final_module"),
        (JITCodeLibrary, "_finalize_final_module"),
        (JITCodeLibrary, "_get_module_for_linking"),
        (JITCodeLibrary, "get_pointer_to_function"),
    ],
)
def test_numba_has_the_private_parts_that_compile_uses(owner, name):
    assert hasattr(owner, name), f"numba {numba.__version__} has no {owner}.{name}: see parts.py"


def test_parts_have_no_machine_code():
    @part
    def one_more(x):
        return x + 1

    @kernel
    def three(x):
        return one_more(x) + 1

    assert three(1) == 3
    for function in (one_more, three):
        (compiled,) = function.dispatcher.overloads.values()
        name = compiled.fndesc.mangled_name
        assert name in {each.name for each in compiled.library.get_defined_functions()}
        assert compiled.library.get_pointer_to_function(name) == 0
        assert not compiled.library.codegen._engine.is_symbol_defined(name)
