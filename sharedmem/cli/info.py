"""Properties of the machine that `sharedmem info` prints, and how the package uses it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import sharedmem
from sharedmem.machine import limits
from sharedmem.memory import segments
from sharedmem.memory.memory_files import memfd_flags

GIB = 1 << 30
_SHMEM_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
_PACKAGES = ("numpy", "numba", "threadpoolctl", "tqdm", "dask", "matplotlib", "h5py", "zarr")


def describe_machine() -> dict[str, str]:
    """Return the properties of the machine by name, in the order to print them."""
    return {
        "cores": f"{os.cpu_count()}",
        "workers": f"{limits.cpu_count()} (from: {limits.cpu_source()})",
        "memory": (
            f"{limits.total_memory() / GIB:.1f} GiB, "
            f"{limits.available_memory() / GIB:.1f} GiB available"
        ),
        "memfd": "no: segments are anonymous mappings" if memfd_flags() is None else "yes",
        "huge pages": _describe_huge_pages(),
        "numba threads": _describe_threading_layer(),
        "kernel cache": _describe_cache(),
        "BLAS threads": _describe_blas(),
        "sharedmem": sharedmem.__version__,
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(_versions()),
    }


def _describe_huge_pages() -> str:
    collapse = "works" if segments.supports_collapse() else "does not work: arrays use small pages"
    try:
        modes = _SHMEM_HUGE_PAGES.read_text()
    except OSError:
        modes = ""
    mode = modes.partition("[")[2].partition("]")[0]
    return f"MADV_COLLAPSE {collapse}; shmem_enabled is {mode or 'unknown'}"


def _describe_threading_layer() -> str:
    # Threads of `prange` in users' kernels; the kernels of this package do not use them.
    import numba
    from numba.np.ufunc.parallel import threading_layer

    n_threads = numba.get_num_threads()  # which loads the layer
    return f"{n_threads}, threading layer {threading_layer()}"


def _describe_cache() -> str:
    from sharedmem.kernels import machine_code

    return str(machine_code.writable_folder() or "none: each process compiles its kernels")


def _describe_blas() -> str:
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    found = [f"{pool['num_threads']} ({pool['internal_api']} {pool['version']})" for pool in pools]
    return f"{', '.join(found) or 'none found'}; 1 in each worker"


def _versions() -> Iterator[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} not installed"
