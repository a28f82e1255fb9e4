"""Forked workers as tools that measure programs see them: coverage.py, VizTracer, and others."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from sharedmem.machine import cpython


@contextlib.contextmanager
def measured() -> Iterator[None]:
    """Call the hooks by which tools know the processes of `multiprocessing`, around a worker.

    VizTracer forgets the coordinator's calls by the first, and writes its file by the second: it
    does not see the end of a worker, which is without exit handlers.
    """
    cpython.call_fork_hooks()
    try:
        with _coverage_kept():
            yield
    finally:
        cpython.call_finalizers()


@contextlib.contextmanager
def _coverage_kept() -> Iterator[None]:
    """Measure coverage into a file of this worker, if the coordinator measures it.

    coverage.py writes its data when the interpreter exits, which a worker does not; and the file
    that it inherits belongs to the coordinator.
    """
    # A program may have another module of this name.
    coverage_class: Any = getattr(sys.modules.get("coverage"), "Coverage", None)
    current = coverage_class and coverage_class.current()
    if not current:
        yield
        return
    current.stop()
    names = ("data_file", "branch", "source", "include", "omit")
    options = {name: current.get_option(f"run:{name}") for name in names}
    mine = coverage_class(
        **options,
        data_suffix=True,
        config_file=current.config.config_file or False,
        check_preimported=False,
    )
    mine.start()
    try:
        yield
    finally:
        mine.stop()
        mine.save()
