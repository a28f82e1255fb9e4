"""Threads, processes, files and random numbers of other libraries, at a fork and in a worker."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy

from sharedmem.machine import blas

if TYPE_CHECKING:
    from threadpoolctl import LibController

_PAUSE_HARD = 2  # omp_pause_hard of OpenMP 5.0
_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC of Linux


class _Forking(threading.local):
    is_ours = False


_forking = _Forking()


def _is_fork() -> bool:
    """Return whether this process was forked from another one, and is not a program of its own."""
    try:
        with open("/proc/self/stat", "rb") as file:
            flags = int(file.read().rpartition(b")")[2].split()[6])
    except (OSError, ValueError, IndexError):
        return True
    return bool(flags & _FORKED_WITHOUT_EXEC)


class _OpenMP:
    """GNU's OpenMP, which keeps threads between parallel regions, and waits for them after a fork.

    They do not exist in the child, so they are ended before a fork; the next region starts others.
    Other libraries of OpenMP see to a fork themselves.
    """

    def __init__(self) -> None:
        self._pools_are_unknown = _is_fork()
        self._not_paused: set[str] = set()

    def pause(self) -> None:
        """End the threads that this thread's regions have used."""
        for library in self._libraries():
            # The threads of a pool from before a fork would be waited for here, too.
            if not self._pools_are_unknown and library.filepath not in self._not_paused:
                pause = getattr(library.dynlib, "omp_pause_resource_all", None)
                if pause is None or pause(_PAUSE_HARD):
                    self._not_paused.add(library.filepath)

    def after_fork(self) -> None:
        """Note in a child whether its pools are gone."""
        self._pools_are_unknown |= not _forking.is_ours

    def limit(self) -> None:
        """Run regions in one thread where those of a pool may not exist."""
        for library in self._libraries():
            if self._pools_are_unknown or library.filepath in self._not_paused:
                library.dynlib.omp_set_max_active_levels(0)

    def _libraries(self) -> Iterator[LibController]:
        for library in blas.libraries():
            if library.user_api == "openmp" and library.prefix == "libgomp":
                yield library


_openmp = _OpenMP()
os.register_at_fork(after_in_child=_openmp.after_fork)


@contextlib.contextmanager
def ready_to_fork() -> Iterator[None]:
    """In this block this thread may fork a worker."""
    import multiprocessing.process  # noqa: F401 - a worker marks it, also for what it imports later

    _openmp.pause()
    _forking.is_ours = True
    try:
        yield
    finally:
        _forking.is_ours = False


def enter_worker() -> None:
    """Make libraries work in a worker that has just been forked."""
    _restart_numba()
    _openmp.limit()
    _become_daemon()
    _watch_hdf5()


def _restart_numba() -> None:
    """Start the layer of numba that ends a process which was forked after it had started."""
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    if parallel is not None:
        # A process that is killed with the lock that all share would keep it for ever.
        own_lock = threading.RLock()
        parallel._backend_init_process_lock = parallel._backend_init_thread_lock = own_lock
    layer: Any = sys.modules.get("numba.np.ufunc.omppool")
    if layer is not None and getattr(parallel, "_is_initialized", False):
        launch = ctypes.CFUNCTYPE(None, ctypes.c_int)(layer.launch_threads)
        launch(parallel.NUM_THREADS)


def _become_daemon() -> None:
    """Tell multiprocessing, and joblib with it, that processes started here would be orphans."""
    process: Any = sys.modules["multiprocessing.process"]
    process.current_process()._config["daemon"] = True


def _watch_hdf5() -> None:
    """Warn when a worker writes to a file of HDF5 that was opened for that before the fork.

    The library holds in memory what it knows of the file, and each process would write its own.
    """
    h5py: Any = sys.modules.get("h5py")
    open_ids = h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) if h5py else ()
    names = {each.name for each in open_ids if each.get_intent() != h5py.h5f.ACC_RDONLY}
    if names:
        for owner, methods in (
            (h5py.Dataset, ("__setitem__", "write_direct", "resize")),
            (h5py.Group, ("create_dataset", "create_group", "__setitem__", "__delitem__", "move")),
            (h5py.AttributeManager, ("create", "modify", "__delitem__")),
        ):
            for method in methods:
                setattr(owner, method, _warning(getattr(owner, method), names, h5py.h5f.get_name))


def _warning(method: Any, names: set[bytes], name_of: Any) -> Any:
    @functools.wraps(method)
    def warn_and_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = name_of(self._id)
        if name in names:
            names.discard(name)  # once a worker
            warnings.warn(
                f"a worker writes to {os.fsdecode(name)!r}, a file of HDF5 that was open for "
                "writing when the worker was forked: what it writes is lost, or damages the file. "
                "Write in reduce=, which the coordinator calls, or to shared memory or zarr",
                RuntimeWarning,
                stacklevel=2,
            )
        return method(self, *args, **kwargs)

    return warn_and_call


def limit_loops(n_threads: int) -> None:
    """Limit the threads of OpenMP, which `enter_worker` may have started, and of numba's loops."""
    for library in blas.libraries():
        if library.user_api == "openmp":
            library.set_num_threads(n_threads)
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    # Of other layers this would start the threads.
    if "numba.np.ufunc.omppool" in sys.modules and getattr(parallel, "_is_initialized", False):
        parallel.set_num_threads(min(n_threads, sys.modules["numba"].config.NUMBA_NUM_THREADS))


def has_global_generators() -> bool:
    """Return whether a library is imported that draws random numbers from a generator of its own.

    Python's `random` seeds itself after a fork; these do not.
    """
    return "numpy.random" in sys.modules or "torch" in sys.modules


def seed_generators(seeds: Any) -> None:
    """Seed NumPy's global generator by 32-bit integers, and torch's if it is imported."""
    numpy.random.seed(seeds)
    generator = getattr(sys.modules.get("torch"), "default_generator", None)
    if generator is not None:
        generator.manual_seed(int(seeds[0]) << 31 | int(seeds[1]))
