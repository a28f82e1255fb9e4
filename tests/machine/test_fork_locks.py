"""Locks of the package that other threads hold at a fork are free in the child."""

import contextlib
import functools
import importlib
import os
import pkgutil
import threading
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem import MapReduce, background
from sharedmem.expressions import fusion
from sharedmem.kernels import machine_code
from sharedmem.machine import blas, fork_locks, helper_threads
from sharedmem.workers import task_context

LOCKS = (type(threading.Lock()), type(threading.RLock()))
WAITABLE = (*LOCKS, threading.Condition, threading.Semaphore, threading.Event, threading.Barrier)


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(sharedmem.__path__, "sharedmem."):
        if not found.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                yield importlib.import_module(found.name)


def locks_of(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield what may be waited for of a module: its own, of its classes, and of what it holds."""
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == module.__name__
        if is_own or not isinstance(value, type | ModuleType | FunctionType):
            holders = {name: value} | {
                f"{name}.{part}": held
                for part, held in getattr(value, "__dict__", {}).items()
                if not part.startswith("__")
            }
            for place, held in holders.items():
                if isinstance(held, functools.cached_property):
                    held = getattr(held, "lock", None)  # before Python 3.12
                if isinstance(held, WAITABLE):
                    yield f"{module.__name__}.{place}", held


def test_all_locks_of_modules_and_classes_are_freed_after_a_fork():
    found = dict(place for module in modules() for place in locks_of(module))
    assert {
        "sharedmem.expressions.fusion._compiling",
        "sharedmem.machine.blas._lock",
    } <= set(found)
    freed = {*fork_locks._locks, machine_code.lock}
    held = [place for place, lock in found.items() if lock not in freed]
    assert held == []


@contextlib.contextmanager
def held_by_another_thread(lock) -> Iterator[None]:
    is_held, is_over = threading.Event(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            is_over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(30)
    try:
        yield
    finally:
        is_over.set()
        thread.join()


# Python 3.12 warns of what is tested here.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "lock", [fusion._compiling, task_context._finding, blas._lock, machine_code.lock]
)
def test_a_lock_that_another_thread_holds_is_free_in_a_child(lock):
    with held_by_another_thread(lock):
        pid = os.fork()
        if pid == 0:
            os._exit(not lock.acquire(timeout=5))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert not lock.acquire(blocking=False)


def test_workers_evaluate_expressions_while_another_thread_compiles_one():
    a = np.ones(100_000)
    pool = MapReduce(np=2, timeout=20)
    with held_by_another_thread(fusion._compiling):
        found = pool.map(lambda i: float(sharedmem.evaluate("a + 2", a=a)[-1]), range(2))
        call = background(lambda: sharedmem.evaluate("a + 3", a=a)[-1])
        assert (found, call.wait(20)) == ([3, 3], 4)


def test_helper_threads_start_in_a_child_while_the_parent_starts_some():
    with held_by_another_thread(helper_threads._helpers._lock):
        total = MapReduce(np=1, timeout=20).map(lambda i: sharedmem.full(5_000_000, 1.0).sum(), [0])
    assert total == [5_000_000]
