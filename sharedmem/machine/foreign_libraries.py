"""Other libraries in workers: threads of OpenMP, files of HDF5, and random number generators."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy

from sharedmem.machine import blas, cpython, numba_internals
from sharedmem.machine.proc import stat_fields

_PAUSE_HARD = 2  # omp_pause_hard of OpenMP 5.0
_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC of Linux


def _is_forked() -> bool:
    """Return whether this process was forked and has not started a program of its own since."""
    fields = stat_fields("self")
    return not fields or bool(int(fields[6]) & _FORKED_WITHOUT_EXEC)


class _OpenMP:
    """GNU's OpenMP, which keeps threads between parallel regions and waits for them after a fork.

    The threads do not exist in the child, so they are ended before a fork; the next region starts
    new ones. Other OpenMP libraries handle a fork themselves.
    """

    def __init__(self) -> None:
        self._pools_are_unknown = self._were_unknown = _is_forked()
        self._not_paused: set[str] = set()

    def pause(self) -> None:
        """End the threads that regions of this thread have used."""
        for library in self._libraries():
            # This would also wait for threads of a pool from before a fork.
            if not self._pools_are_unknown and library.filepath not in self._not_paused:
                pause = getattr(library.dynlib, "omp_pause_resource_all", None)
                if pause is None or pause(_PAUSE_HARD):
                    self._not_paused.add(library.filepath)

    def after_fork(self) -> None:
        """Note in a child that its pools may have lost their threads."""
        self._were_unknown, self._pools_are_unknown = self._pools_are_unknown, True

    def enter_worker(self) -> None:
        """Run regions in one thread where the threads of a pool may not exist."""
        self._pools_are_unknown = self._were_unknown  # The coordinator has ended all threads.
        for library in self._libraries():
            if self._pools_are_unknown or library.filepath in self._not_paused:
                library.dynlib.omp_set_max_active_levels(0)

    def _libraries(self) -> Iterator[blas.Library]:
        for library in blas.libraries():
            if library.user_api == "openmp" and library.prefix == "libgomp":
                yield library


_openmp = _OpenMP()
os.register_at_fork(after_in_child=_openmp.after_fork)


def prepare_fork() -> None:
    """Make libraries ready for a worker that this thread forks next."""
    import multiprocessing.process  # noqa: F401 - for `forbid_child_processes`

    _openmp.pause()


def enter_worker() -> None:
    """Make libraries work in a worker that has just been forked."""
    numba_internals.restart_parallel_loops()
    _openmp.enter_worker()
    cpython.forbid_child_processes()
    _watch_hdf5()


def _watch_hdf5() -> None:
    """Warn when a worker writes to an HDF5 file that was open for writing before the fork.

    The library keeps metadata of the file in memory, and each process would write its own.
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
            names.discard(name)  # one warning per worker
            warnings.warn(
                f"a worker writes to {os.fsdecode(name)!r}, an HDF5 file that was open for "
                "writing when the worker was forked: the data is lost, or damages the file. "
                "Write in reduce=, which the coordinator calls, or to shared memory or zarr",
                RuntimeWarning,
                stacklevel=2,
            )
        return method(self, *args, **kwargs)

    return warn_and_call


def limit_threads(n_threads: int) -> None:
    """Limit the threads of BLAS, OpenMP, and numba's loops in a worker.

    Those of loops may be there already, started by `enter_worker`.
    """
    if blas.can_limit_after_fork():
        blas.limit(n_threads)
    for library in blas.libraries():
        if library.user_api == "openmp":
            library.set_num_threads(n_threads)
    numba_internals.limit_parallel_loops(n_threads)


def has_global_generators() -> bool:
    """Return whether NumPy or torch, whose global generators a fork copies, is imported.

    Python's `random` reseeds itself after a fork.
    """
    return "numpy.random" in sys.modules or "torch" in sys.modules


def seed_generators(seeds: Any) -> None:
    """Seed NumPy's global generator, and torch's if it is imported, by 32-bit integers."""
    numpy.random.seed(seeds)
    generator = getattr(sys.modules.get("torch"), "default_generator", None)
    if generator is not None:
        generator.manual_seed(int(seeds[0]) << 31 | int(seeds[1]))
