"""How many threads BLAS and OpenMP libraries may start."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sharedmem.forking import new_lock

if TYPE_CHECKING:
    from threadpoolctl import LibController, ThreadpoolController

_found: tuple[int, ThreadpoolController] | None = None


def libraries() -> list[LibController]:
    """Return the libraries with threads that are loaded now.

    The search takes 0.3 ms, so it is made again only when modules were imported since.
    """
    from threadpoolctl import ThreadpoolController

    global _found
    n_modules = len(sys.modules)
    if _found is None or _found[0] != n_modules:
        _found = n_modules, ThreadpoolController()
    controllers: list[LibController] = _found[1].lib_controllers
    return controllers


def can_limit_after_fork() -> bool:
    """Say whether `limit` in a forked process starts no threads there.

    After a fork, here and in the child, OpenBLAS answers a call that sets the number by starting
    its threads, which then spin for 0.1 s. Most builds let its variables be set instead.
    """
    return all(_variables(library) or not _starts_threads(library) for library in libraries())


def limit(n_threads: int) -> None:
    """Limit the threads of all libraries in this process, for good."""
    for library in libraries():
        _set(library, n_threads)


def _starts_threads(library: LibController) -> bool:
    return bool(library.internal_api == "openblas" and library.threading_layer == "pthreads")


def _variables(library: LibController) -> tuple[ctypes.c_int, ctypes.c_int] | None:
    """Return how many threads OpenBLAS uses, and how many it has; None if this build hides it."""
    if not _starts_threads(library):
        return None
    try:
        used, most = (
            ctypes.c_int.in_dll(library.dynlib, name)
            for name in ("blas_cpu_number", "blas_num_threads")
        )
    except ValueError:
        return None
    return used, most


def _set(library: LibController, n_threads: int) -> None:
    variables = _variables(library)
    if variables and n_threads <= variables[1].value:
        variables[0].value = n_threads
    else:
        library.set_num_threads(n_threads)


_lock = new_lock()
_n_limits = 0
_unlimited: list[tuple[LibController, int]] = []


def _forget_limits() -> None:
    global _n_limits
    _n_limits = 0


os.register_at_fork(after_in_child=_forget_limits)


@contextlib.contextmanager
def limited(n_threads: int | None) -> Iterator[None]:
    """Limit the threads of all libraries in this block; None leaves them alone.

    Blocks of several threads may overlap: the last one to end lifts the limit.
    """
    if n_threads is None:
        yield
        return
    global _n_limits, _unlimited
    with _lock:
        if _n_limits == 0:
            _unlimited = [(library, library.get_num_threads()) for library in libraries()]
        _n_limits += 1
        limit(n_threads)
    try:
        yield
    finally:
        with _lock:
            _n_limits -= 1
            if _n_limits == 0:
                for library, before in _unlimited:
                    _set(library, before)
