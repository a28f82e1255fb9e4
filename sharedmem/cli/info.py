"""What `sharedmem info` tells: what the machine offers, and what the library makes of it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sharedmem
from sharedmem.machine import limits
from sharedmem.machine.helper_threads import in_threads
from sharedmem.machine.tuning import tuning
from sharedmem.memory import segments

MIB, GIB = 1 << 20, 1 << 30
_SHMEM_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
_PACKAGES = ("numpy", "numba", "threadpoolctl", "tqdm", "dask", "matplotlib")


def describe_machine() -> dict[str, str]:
    """Return what there is to say, by its name, in the order in which to say it."""
    return {
        "cores": f"{os.cpu_count()}",
        "workers": f"{limits.cpu_count()} (from: {limits.cpu_source()})",
        "memory": (
            f"{limits.total_memory() / GIB:.1f} GiB, "
            f"{limits.available_memory() / GIB:.1f} GiB available"
        ),
        "memfd": "yes" if segments.supports_memfd() else "no: segments are anonymous mappings",
        "huge pages": _describe_huge_pages(),
        "numba threads": _describe_threading_layer(),
        "numba cache": _describe_cache(),
        "BLAS threads": _describe_blas(),
        "threads of array calls": _describe_threads(),
        "sharedmem": sharedmem.__version__,
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(_versions()),
    }


def _describe_huge_pages() -> str:
    collapse = "works" if segments.supports_collapse() else "does not work: arrays have 4 KiB pages"
    try:
        modes = _SHMEM_HUGE_PAGES.read_text()
        mode = modes[modes.index("[") + 1 : modes.index("]")]
    except (OSError, ValueError):
        mode = "unknown"
    return f"MADV_COLLAPSE {collapse}; shmem_enabled is {mode}"


def _describe_threading_layer() -> str:
    # The kernels here run on the pool; `prange` in a user's own kernel runs on these.
    import numba
    from numba.np.ufunc.parallel import threading_layer

    n_threads = numba.get_num_threads()  # which loads the layer
    return f"{n_threads}, threading layer {threading_layer()}"


def _describe_cache() -> str:
    from sharedmem.kernels import histograms

    # One that Python calls: what only kernels call is kept in them.
    cache = getattr(histograms.tally, "stats", None)
    return str(cache.cache_path) if cache and cache.cache_path else "none: compiled in each process"


def _describe_blas() -> str:
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    found = [f"{pool['num_threads']} ({pool['internal_api']} {pool['version']})" for pool in pools]
    return f"{', '.join(found) or 'none found'}; 1 in each worker"


def _describe_threads() -> str:
    array = np.ones(MIB)
    reading, waking = [], []
    for _ in range(50):
        starts: list[float] = []

        def read(_: int, starts: list[float] = starts) -> None:
            starts.append(time.perf_counter())
            array.sum()

        called = time.perf_counter()
        in_threads(read, range(2), 2)
        waking.append(max(starts) - called)
        reading.append((time.perf_counter() - called) / array.nbytes)
    seconds = statistics.median(waking)
    n_bytes = seconds / statistics.median(reading)
    return (
        f"one wakes up in {seconds * 1e6:.0f} us, while a core reads {n_bytes / MIB:.1f} MiB; "
        f"each gets {tuning.thread_bytes // MIB} MiB or more"
    )


def _versions() -> Iterator[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} not installed"
