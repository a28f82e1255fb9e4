"""Private parts of numba and llvmlite: locks that a fork must not inherit, and threads of loops.

``tests/machine/test_numba_internals.py`` names the part that a new version has changed.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any


def compiler_locks() -> Iterator[AbstractContextManager[Any]]:
    """Yield the locks of compilers and of LLVM, as far as they are imported.

    The lock of LLVM alone is taken wherever compiled code is freed: in any thread, at any time.
    """
    numba = sys.modules.get("numba.core.compiler_lock")
    llvm = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
    ours = sys.modules.get("sharedmem.kernels.machine_code")
    for lock in (
        getattr(ours, "lock", None),
        getattr(numba, "global_compiler_lock", None),
        getattr(llvm, "_lock", None),
    ):
        if lock is not None:
            yield lock


def renew_decorator_locks() -> None:
    """Replace the locks that each decorator of numba takes, which another thread may have held."""
    target = getattr(sys.modules.get("numba.core.registry"), "CPUTarget", object)
    for found in vars(target).values():
        for name in ("_lock", "lock"):  # the one of functools, before Python 3.12
            if hasattr(found, name):
                setattr(found, name, threading.RLock())


def restart_parallel_loops() -> None:
    """Start the threads of parallel loops again in a forked process.

    The OpenMP layer of numba ends a process that was forked after the layer had started.
    """
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    if parallel is not None:
        # All processes share numba's lock, and one that is killed with it never releases it.
        parallel._backend_init_process_lock = threading.RLock()
        parallel._backend_init_thread_lock = parallel._backend_init_process_lock
    layer: Any = sys.modules.get("numba.np.ufunc.omppool")
    if layer is not None and getattr(parallel, "_is_initialized", False):
        launch = ctypes.CFUNCTYPE(None, ctypes.c_int)(layer.launch_threads)
        launch(parallel.NUM_THREADS)


def limit_parallel_loops(n_threads: int) -> None:
    """Limit the threads of parallel loops that run in OpenMP and have been started."""
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    # With other layers the call would start the threads.
    if "numba.np.ufunc.omppool" in sys.modules and getattr(parallel, "_is_initialized", False):
        parallel.set_num_threads(min(n_threads, sys.modules["numba"].config.NUMBA_NUM_THREADS))
