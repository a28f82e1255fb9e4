"""The private parts of numba and llvmlite do what this package uses them for."""

import subprocess
import sys
import threading

import llvmlite.binding.ffi
import numba.core.compiler_lock
import numba.core.registry
import pytest
from numba.np.ufunc import parallel

from sharedmem.kernels import machine_code
from sharedmem.machine import numba_internals

RLOCK = type(threading.RLock())


def test_the_locks_of_numba_and_llvm_are_found():
    found = list(numba_internals.compiler_locks())
    assert found == [
        machine_code.lock,
        numba.core.compiler_lock.global_compiler_lock,
        llvmlite.binding.ffi.lib._lock,
    ], "numba's global_compiler_lock, or llvmlite.binding.ffi.lib._lock, is gone"
    for lock in found:
        with lock:
            pass


def test_the_locks_of_decorators_are_renewed():
    def locks():
        return [
            lock
            for found in vars(numba.core.registry.CPUTarget).values()
            for lock in (getattr(found, name, None) for name in ("_lock", "lock"))
            if isinstance(lock, RLOCK)
        ]

    before = locks()
    assert before, "the properties of numba.core.registry.CPUTarget have no locks any more"
    numba_internals.renew_decorator_locks()
    assert not {*map(id, before)} & {*map(id, locks())}


@pytest.mark.parametrize(
    "name", ["_backend_init_process_lock", "_backend_init_thread_lock", "_is_initialized"]
)
def test_parallel_loops_have_a_layer_that_can_be_restarted(name):
    assert hasattr(parallel, name), f"numba.np.ufunc.parallel.{name} is gone"
    assert parallel.NUM_THREADS >= 1


def test_the_openmp_layer_has_a_function_that_starts_its_threads():
    # In a process of its own: `restart_parallel_loops` takes an imported layer for the one in use.
    program = "from numba.np.ufunc import omppool; print(type(omppool.launch_threads).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if "ImportError" in done.stderr:
        pytest.skip("numba has no layer for OpenMP")
    assert done.stdout == "int\n", "omppool.launch_threads is not an address"
