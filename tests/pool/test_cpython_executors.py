"""CPython's own tests of executors, where its `test` package is installed (3.13, as pyenv has it).

Left out are tests of what ProcessPoolExecutor has inside (`_processes`, `_call_queue`, its wake-up
pipe), of its `max_tasks_per_child`, and of programs that import their executor by name, which
`test_executor` has of its own. Two things are meant to differ: where a worker dies, only the call
that it ran fails, with DeadWorkerError; and what cannot be unpickled fails with its own exception.
Waiting and `as_completed` are functions of concurrent.futures, which see only its futures.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
from typing import Any

import pytest

import sharedmem

pytest.importorskip("test.test_concurrent_futures.util")

from test.test_concurrent_futures import (
    test_deadlock,
    test_init,
    test_process_pool,
    test_shutdown,
)
from test.test_concurrent_futures.util import BaseTestCase, ExecutorMixin


class Theirs(sharedmem.Executor):
    """Has the parameters and attributes that the tests use."""

    def __init__(self, max_workers: int, mp_context: object = None, **options: Any) -> None:
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        super().__init__(max_workers, **options)

    @property
    def _executor_manager_thread(self) -> Any:
        return self._thread

    @property
    def _broken(self) -> str:
        return self._queue.failure


class Ours(ExecutorMixin):
    executor_type = Theirs

    def get_context(self):
        return multiprocessing.get_context("fork")


class TestShutdown(Ours, test_shutdown.ExecutorShutdownTest, BaseTestCase):
    test_interpreter_shutdown = None
    test_submit_after_interpreter_shutdown = None
    test_hang_gh83386 = None


class TestProcessPool(Ours, test_process_pool.ProcessPoolExecutorTest, BaseTestCase):
    test_killed_child = None
    test_map_timeout = None  # takes seconds
    test_max_tasks_per_child = None
    test_max_tasks_per_child_defaults_to_spawn_context = None
    test_python_finalization_error = None
    test_saturation = None
    test_traceback = None


class TestInitializer(test_init.InitializerMixin, Ours, BaseTestCase):
    pass


class TestFailingInitializer(test_init.FailingInitializerMixin, Ours, BaseTestCase):
    def setUp(self):
        self.executor_kwargs = {"initializer": test_init.init_fail}
        ExecutorMixin.setUp(self)

    def _assert_logged(self, _):
        return contextlib.nullcontext()  # The exception is the cause of that of each future.


class TestDeadlock(test_deadlock.ExecutorDeadlockTest, Ours, BaseTestCase):
    test_gh105829_should_not_deadlock_if_wakeup_pipe_full = None

    def setUp(self):
        super().setUp()
        broken = test_deadlock.BrokenProcessPool
        self.addCleanup(setattr, test_deadlock, "BrokenProcessPool", broken)
        test_deadlock.BrokenProcessPool = sharedmem.DeadWorkerError

    def _check_crash(self, error, *args, **options):
        if error is sharedmem.DeadWorkerError:
            error = error, pickle.UnpicklingError, SystemExit
        super()._check_crash(error, *args, **options)
