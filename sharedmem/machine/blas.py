"""Limits on the threads of BLAS and OpenMP libraries."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import operator
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

from sharedmem.machine.fork_locks import new_lock
from sharedmem.machine.freeing import exhaust

Library = Any  # a LibController of threadpoolctl


def libraries() -> list[Library]:
    """Return the loaded libraries that have threads.

    The process is searched again only if modules were imported since the last search.
    """
    return _libraries(len(sys.modules))


@lru_cache(1)
def _libraries(n_modules: int) -> list[Library]:
    from threadpoolctl import ThreadpoolController

    controllers: list[Library] = ThreadpoolController().lib_controllers
    return controllers


def can_limit_after_fork() -> bool:
    """Return whether `limit` starts no threads in a forked process.

    After a fork, in the parent and in the child, OpenBLAS starts its threads when its function for
    setting their number is called, and they spin for some time. In most builds the variables of
    OpenBLAS can be set instead.
    """
    return all(_variables(library) or not _starts_threads(library) for library in libraries())


def limit(n_threads: int) -> None:
    """Limit the threads of all libraries in this process, permanently."""
    for library in libraries():
        _setter(library, n_threads)()


def _starts_threads(library: Library) -> bool:
    return bool(library.internal_api == "openblas" and library.threading_layer == "pthreads")


def _variables(library: Library) -> tuple[ctypes.c_int, ctypes.c_int] | None:
    """Return how many threads OpenBLAS uses, and how many it has; None if this build hides it."""
    if _starts_threads(library):
        with contextlib.suppress(ValueError):
            used = ctypes.c_int.in_dll(library.dynlib, "blas_cpu_number")
            return used, ctypes.c_int.in_dll(library.dynlib, "blas_num_threads")
    return None


def _setter(library: Library, n_threads: int) -> Callable[[], object]:
    """Return a function that sets the threads of a library; for OpenBLAS it is a C function."""
    variables = _variables(library)
    if variables and n_threads <= variables[1].value:
        return partial(setattr, variables[0], "value", n_threads)
    return partial(library.set_num_threads, n_threads)


_lock = new_lock()
# The limits in force, and what restores the numbers of threads before them.
_limits: set[Limit] = set()
_unlimited: list[Callable[[], object]] = []
os.register_at_fork(after_in_child=_limits.clear)
os.register_at_fork(after_in_child=_unlimited.clear)


class Limit:
    """A limit on the threads of all libraries; None sets no limit.

    Limits of several threads may overlap: the numbers of threads are restored with the last one.

    Attributes
    ----------
    lifting : iterator
        ``exhaust(limit.lifting)`` lifts the limit, if it was set, in one call of C.
    """

    def __init__(self, n_threads: int | None) -> None:
        self._n_threads = n_threads
        # Each step tests again whether a limit is in force: another thread may just set one.
        is_last = map(operator.not_, itertools.repeat(_limits))
        restoring = map(operator.call, itertools.compress(_unlimited, is_last))
        forgetting = map(operator.call, itertools.compress((_unlimited.clear,), is_last))
        self.lifting = itertools.chain(map(_limits.discard, (self,)), restoring, forgetting)

    def set(self) -> None:
        """Limit the threads."""
        if self._n_threads is None:
            return
        with _lock:
            _limits.add(self)
            if not _unlimited:
                _unlimited[:] = [
                    _setter(library, library.get_num_threads()) for library in libraries()
                ]
            limit(self._n_threads)


@contextlib.contextmanager
def limited(n_threads: int | None) -> Iterator[None]:
    """Return a context in which the threads of all libraries are limited."""
    limit = Limit(n_threads)
    try:
        limit.set()
        yield
    finally:
        exhaust(limit.lifting)
