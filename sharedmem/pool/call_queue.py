"""The calls of an executor that wait for a worker, and the bell that wakes its dispatcher."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections import deque
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from typing import Any

from sharedmem.machine.descriptors import with_descriptors
from sharedmem.machine.freeing import free_with
from sharedmem.pool.call_future import CallFuture
from sharedmem.workers.channel import INLINE_BYTES
from sharedmem.workers.pickling import Parcel

# Calls of more bytes are sent alone.
_SMALL_BYTES = 1024


def settle(change: Callable[..., object], *value: Any) -> None:
    """Change a future; log what its callbacks raise, or why it cannot be changed."""
    try:
        change(*value)
    except BaseException:  # The next calls are served as if nothing had happened.
        logging.getLogger("concurrent.futures").exception("a future could not be settled")


class Call:
    """A call that was submitted: its future, and its function and arguments, pickled.

    Parameters
    ----------
    name : str
        The name of the function, for messages.
    parcel : Parcel
        The function, the arguments, and the keyword arguments.

    Attributes
    ----------
    future : Future
        The future of its result.
    is_small : bool
        Whether it can be sent together with others.
    nbytes : int
        Bytes that are sent through a socket, and not in a file.
    is_suspect : bool
        Whether a worker has died that may just have begun it.
    """

    def __init__(self, name: str, parcel: Parcel) -> None:
        self.name = name
        self.future = CallFuture()
        self.is_suspect = False
        self.nbytes = min(len(parcel.stream), INLINE_BYTES)
        self.is_small = self.nbytes <= _SMALL_BYTES and not (parcel.buffers or parcel.segments)
        self._parcel = parcel
        self._is_running = False

    def pack(self) -> Parcel:
        """Return what a team sends."""
        return self._parcel

    def begin(self) -> bool:
        """Mark the future as running; return False if it was cancelled, or set by somebody else."""
        if not self._is_running:
            with contextlib.suppress(RuntimeError, InvalidStateError):
                self._is_running = self.future.set_running_or_notify_cancel()
        return self._is_running

    def cancel(self) -> bool:
        """Cancel the future, and tell those who wait for it; return False if it is running."""
        if not self._is_running:
            self.future.cancel()
        return not self.begin()


class SmallCalls:
    """Small calls that are sent together; the worker unpickles each when its turn has come.

    Parameters
    ----------
    calls : list of Call
        Their parcels have only streams.
    """

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls

    def pack(self) -> Parcel:
        """Return what a team sends."""
        return Parcel(pickle.dumps([call.pack().stream for call in self._calls], 5))


class CallQueue:
    """What an executor and its dispatcher share.

    It has no lock: a signal handler, a finalizer, or a callback may submit calls at any moment, and
    an interrupt may come at any moment.

    Attributes
    ----------
    calls : deque of Call
        The calls that no worker has been sent.
    is_shut : bool
        Whether the dispatcher ends when all calls are done.
    is_cancelled : bool
        Whether it sends no more calls, but cancels them.
    is_killed : bool
        Whether it ends its workers now.
    is_over : bool
        Whether the dispatcher takes no more calls.
    is_asleep : bool
        Whether the dispatcher sleeps, and would take a call.
    failure : str
        Why the executor is broken; empty if it is not.
    cause : BaseException or None
        The exception that has broken it.
    """

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.is_shut = self.is_cancelled = self.is_killed = False
        self.is_over = self.is_asleep = False
        self.failure = ""
        self.cause: BaseException | None = None
        self.bell = with_descriptors(lambda: os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        free_with(self, [map(os.close, (self.bell,))])

    def add(self, call: Call) -> bool:
        """Append a call; return False if the dispatcher takes no more."""
        self.calls.append(call)
        # In this order, since the dispatcher looks at the calls after it has set either flag.
        if self.is_asleep:
            self.is_asleep = False
            self.ring()
        if self.is_over:
            try:
                self.calls.remove(call)
            except ValueError:
                return True  # It has been taken, or is settled.
            return False
        return True

    def ring(self) -> None:
        """Wake the dispatcher."""
        os.eventfd_write(self.bell, 1)

    def silence(self) -> None:
        """Forget that the bell has been rung."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.bell)

    def shut(self, *, cancel: bool = False) -> None:
        """Let the dispatcher end when all calls are done; `cancel` those that were not sent."""
        self.is_cancelled |= cancel
        self.is_shut = True
        self.ring()

    def kill(self) -> None:
        """Let the dispatcher kill its workers, and end."""
        self.is_shut = self.is_killed = True
        self.ring()

    def cancel(self) -> None:
        """Cancel all calls that no worker has been sent; those that have been recalled stay."""
        left = [call for call in iter(self.next, None) if not call.cancel()]
        self.calls.extendleft(reversed(left))

    def next(self) -> Call | None:
        """Take the first call, or return None."""
        try:
            return self.calls.popleft()
        except IndexError:
            return None
