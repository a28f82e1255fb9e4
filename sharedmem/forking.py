"""What other threads hold at a fork, and a worker would wait for in vain: set free, or waited for.

The threads that hold these locks do not exist in the worker. Python itself sees to the locks of
`logging` and to the one of all imports; locks of user code stay as they are.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any


def compiler_lock() -> Any:
    """Return the lock to hold while forking: in between, no thread compiles.

    What a compilation leaves half made could not be repaired in the worker. One takes seconds.
    """
    module = sys.modules.get("numba.core.compiler_lock")
    return getattr(module, "global_compiler_lock", None) or threading.RLock()


def let_go() -> None:
    """In a worker, set free what other threads of the coordinator held."""
    for stream in _output_streams():
        with suppress(Exception):  # A stream may be of any class, and closed.
            _renew(stream.buffer)
    _forget_imports()


def _output_streams() -> Iterator[Any]:
    yield from (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    handlers = getattr(sys.modules.get("logging"), "_handlerList", ())
    yield from (getattr(reference(), "stream", None) for reference in list(handlers))


def _renew(buffer: Any) -> None:
    """Give a buffer a new lock; what is in it is the coordinator's, which writes it by itself."""
    if type(buffer) in (io.BufferedWriter, io.BufferedRandom):
        buffer.__init__(buffer.raw)


def _forget_imports() -> None:
    """Let the worker import what another thread was just importing, from the start."""
    locks: dict[str, Any] = sys.modules["_frozen_importlib"]._module_locks
    for name, reference in list(locks.items()):
        if getattr(reference(), "owner", None) not in (None, threading.get_ident()):
            del locks[name]
            sys.modules.pop(name, None)
