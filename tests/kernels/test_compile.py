"""Kernels are compiled once and cached on disk."""

import subprocess
import sys

import numba
import numpy as np
import pytest
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import CPUDispatcher

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.sums import two_sum

CHILD = """
import numpy as np
from sharedmem.kernels import histograms, sums
for kernel in (sums._add_lines[True].rows, histograms.tally):
    assert not kernel.signatures, "importing has compiled a kernel"
histograms.tally(np.zeros(3, int), np.zeros(1, int))
print(sum(histograms.tally.stats.cache_hits.values()))
"""


def run(code, *args, **env):
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, env=env
    ).stdout.strip()


def test_kernels_are_found_in_the_cache(monkeypatch, tmp_path):
    env = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": "."}
    assert run(CHILD, **env) == "0"
    assert run(CHILD, **env) == "1"
    for file in tmp_path.rglob("*.nbc"):
        file.write_bytes(b"damaged")
    assert run(CHILD, **env) == "0"


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


def test_kernels_work_without_a_writable_cache(monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    @kernel
    def double(x):
        return 2 * x

    monkeypatch.setattr(IndexDataCacheFile, "_save_data", fail)
    assert double(2) == 4


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


def test_kernels_release_the_gil():
    assert two_sum.targetoptions["nogil"]


def test_parts_cannot_be_called_from_python():
    with pytest.raises(TypeError, match="two_sum is a part of kernels"):
        two_sum(1.0, 2.0)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (CPUDispatcher, "compile"),
        (FunctionCache, "_index_key"),
        (FunctionCache, "load_overload"),
        (FunctionCache, "save_overload"),
        (IndexDataCacheFile, "_load_index"),
        (IndexDataCacheFile, "_save_data"),
        (IndexDataCacheFile, "_save_index"),
        (kernel(lambda: None), "_cache"),
        (FunctionCache(test_kernels_release_the_gil), "_cache_file"),
        (FunctionCache(test_kernels_release_the_gil), "_cache_path"),
        (FunctionCache(test_kernels_release_the_gil)._impl, "filename_base"),
        (FunctionCache(test_kernels_release_the_gil)._cache_file, "_index_name"),
    ],
)
def test_numba_has_the_private_parts_that_compile_uses(owner, name):
    assert hasattr(owner, name), f"numba {numba.__version__} has no {owner}.{name}: see compile.py"


def test_only_kernels_have_machine_code():
    @part
    def one_more(x):
        return x + 1

    @kernel
    def three(x):
        return one_more(x) + 1

    assert three(1) == 3
    (inner,), (outer,) = one_more.overloads.values(), three.overloads.values()
    engine = outer.library.codegen._engine
    name = inner.fndesc.mangled_name
    assert name in {function.name for function in inner.library.get_defined_functions()}
    assert inner.library.get_pointer_to_function(name) == 0
    assert engine.is_symbol_defined(outer.fndesc.mangled_name)
    assert isinstance(inner.library, JITCodeLibrary)
    for step in ("_optimize_final_module", "_finalize_final_module", "get_pointer_to_function"):
        assert hasattr(JITCodeLibrary, step), f"numba's JITCodeLibrary has no {step} any more"
