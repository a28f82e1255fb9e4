"""Warn before a fork if a library is in use that breaks in forked processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from sharedmem.errors import warn_caller
from sharedmem.machine.proc import lines

_NO_THREADS = "a forked worker does not have them, and may wait for them forever"
_NO_CUDA = "a forked worker cannot use the GPU"


class _Danger(NamedTuple):
    """What a library has done that breaks in a fork.

    Attributes
    ----------
    module : str
        Nothing has been done if it is not imported.
    has_come : callable
        Whether it has been done, given the module.
    what : str
        What has been done, in words.
    so : str
        The consequence.
    """

    module: str
    has_come: Callable[[Any], object]
    what: str
    so: str


def _has_thread(name: str) -> bool:
    """Return whether a thread of this process has a name, which only Linux can tell."""
    with contextlib.suppress(OSError):
        threads = os.listdir("/proc/self/task")
        return any(lines(f"/proc/self/task/{thread}/comm") == [name] for thread in threads)
    return False


def _is_cuda_initialized(_: object) -> bool:
    """Ask the driver, if it is loaded, whether any library has called its ``cuInit``."""
    with contextlib.suppress(OSError, AttributeError):
        driver = ctypes.CDLL("libcuda.so.1", os.RTLD_NOW | os.RTLD_NOLOAD)
        count: int = driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int()))
        return count != _CUDA_ERROR_NOT_INITIALIZED
    return False


_CUDA_ERROR_NOT_INITIALIZED = 3

# Not gRPC: its threads survive a fork.
_DANGERS = (
    _Danger(
        "jax._src.xla_bridge",
        lambda module: module._backends,
        "JAX has started threads",
        _NO_THREADS,
    ),
    _Danger(
        "tensorflow.python.eager.context",
        lambda module: module._context._initialized,
        "TensorFlow has started threads",
        _NO_THREADS,
    ),
    _Danger(
        "polars",
        lambda _: _has_thread("polars-0"),
        "polars has started threads",
        _NO_THREADS,
    ),
    _Danger(
        "torch.cuda",
        lambda module: module.is_initialized(),
        "torch has initialized CUDA",
        _NO_CUDA,
    ),
    *(
        _Danger(module, _is_cuda_initialized, f"{name} has initialized CUDA", _NO_CUDA)
        for module, name in (
            ("cupy", "cupy"),
            ("numba.cuda.cudadrv.driver", "numba"),
            ("pycuda.driver", "pycuda"),
        )
    ),
    _Danger(
        "mpi4py.MPI",
        lambda module: module.Is_initialized() and not module.Is_finalized(),
        "mpi4py has initialized MPI",
        "a forked worker must not call it, and some networks lose data of processes that fork",
    ),
)
_warned: set[str] = set()


def warn_of_fork() -> None:
    """Warn once of each library that breaks in a process that is forked now."""
    for danger in _DANGERS:
        module = sys.modules.get(danger.module)
        if module is None or danger.module in _warned:
            continue
        has_come: object = False
        # Another version, or another module of this name, may lack what is asked for.
        with contextlib.suppress(Exception):
            has_come = danger.has_come(module)
        if has_come:
            _warned.add(danger.module)
            warn_caller(
                f"{danger.what} in this process: {danger.so}. Use SpawnBackend, whose workers are "
                "fresh interpreters, or start workers before that."
            )
