"""Futures whose locks are released whenever an interrupt comes."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

_RLock: Any = type(threading.RLock())


class _Condition(_RLock, threading.Condition):  # type: ignore[misc]
    """A condition that an interrupt cannot leave locked.

    A ``with`` block locks Python's by a Python function: an interrupt may come when that has the
    lock, and before the block begins that would release it. Here C functions do both.
    """

    def __init__(self) -> None:
        self._waiters: deque[threading.Lock] = deque()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; return False if that takes longer than `timeout`."""
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        state: Any = 1, threading.get_ident()
        is_notified = False
        try:
            try:
                state = self._release_save()
                is_notified = waiter.acquire(timeout=-1 if timeout is None else max(0, timeout))
            finally:
                self._restore(state)
        finally:
            self._restore(state)  # an interrupt may have come in the other one
            if not is_notified:
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)
        return is_notified

    def _restore(self, state: Any) -> None:
        if not self._is_owned():
            self._acquire_restore(state)


class CallFuture(Future[Any]):
    """A future that an interrupt cannot leave locked: its dispatcher would wait for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._condition = _Condition()
