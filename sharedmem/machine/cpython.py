"""Private parts of CPython, each with the reason for its use.

``tests/machine/test_cpython.py`` tests what each of them does, and names the one that a new version
of Python has changed.
"""

from __future__ import annotations

import atexit
import importlib
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

c_signal: Any = importlib.import_module("_signal")
"""The C functions behind `signal`. The functions of that module are written in Python: a signal
handler may raise at their first line, and what was to be unblocked would stay blocked."""

_weakref: Any = importlib.import_module("_weakref")
remove_if_dead: Callable[[dict[Any, Any], Any], None] = _weakref._remove_dead_weakref
"""Remove an entry from a dict if its weak reference is dead. Only a C function may do that while an
object is freed, see `freeing`."""

free_after_fork: Callable[[Any], None] = operator.methodcaller("_at_fork_reinit")
"""Release a lock in a forked child, whichever thread of the parent holds it. `threading` frees the
locks of Python's own modules in this way; releasing a lock that is free raises an error."""

owns: Callable[[Any], bool] = operator.methodcaller("_is_owned")
"""Return whether this thread holds a reentrant lock, as `threading.Condition` asks."""


run_exit_handlers: Callable[[], None] = atexit._run_exitfuncs
"""Call what is registered by `atexit`, and forget it. A process that must not wait for its threads
cannot end as Python ends it."""


def interpreter_flags() -> list[str]:
    """Return the options that start another interpreter in the mode of this one.

    `multiprocessing` asks the same function.
    """
    private: Any = importlib.import_module("subprocess")
    flags: list[str] = private._args_from_interpreter_flags()
    return flags


def forget_unfinished_imports() -> None:
    """Forget the modules that another thread was importing at the fork; import starts them again.

    The thread does not exist here, so that nothing would release the locks of the modules.
    """
    locks: dict[str, Any] = vars(sys.modules["_frozen_importlib"])["_module_locks"]
    for name, reference in list(locks.items()):
        if getattr(reference(), "owner", None) not in (None, threading.get_ident()):
            del locks[name]
            sys.modules.pop(name, None)


def logging_streams() -> Iterator[Any]:
    """Yield the streams of all handlers of `logging`, which has no public list of them."""
    references = getattr(sys.modules.get("logging"), "_handlerList", ())
    yield from (getattr(reference(), "stream", None) for reference in list(references))


def forbid_child_processes() -> None:
    """Tell `multiprocessing`, and joblib with it, that this process may not start others.

    They would be orphans when this process is killed. The setter of `daemon` refuses a process that
    is running.
    """
    process: Any = sys.modules["multiprocessing.process"]
    process.current_process()._config["daemon"] = True


def call_fork_hooks() -> None:
    """Call what is registered by ``multiprocessing.util.register_after_fork``, in a forked child.

    `multiprocessing` calls it in its own children only.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._run_after_forkers()


def call_finalizers() -> None:
    """Call the finalizers (``multiprocessing.util.Finalize``) that this process has registered.

    Those that it has inherited are left out, as are those of priority -5 and less: the end of a
    `multiprocessing.Queue` would wait until somebody reads it.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._run_finalizers(-1)


def semaphore_type() -> Any:
    """Return the C type behind the locks of `multiprocessing`; None where libc is not glibc.

    Only with glibc it may be used with a semaphore in memory of our own: the type closes what it
    does not own, and glibc ignores that.
    """
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        from _multiprocessing import SemLock
    except (ValueError, ImportError):
        return None
    return SemLock


_SEMAPHORE = 1  # the kind of lock that any process may release


def lock_of_semaphore(semaphore: Any, address: int) -> Any:
    """Return a lock of type `semaphore` on the semaphore at an address.

    Locks that `multiprocessing` makes have a name in ``/dev/shm`` for a moment, which a process
    that is killed in this moment leaves behind.
    """
    return semaphore._rebuild(address, _SEMAPHORE, 1, None)
