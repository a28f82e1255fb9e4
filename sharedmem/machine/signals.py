"""Signals that are held back while something must not be left half done."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from sharedmem.machine.cpython import c_signal

set_mask: Callable[[int, Collection[int]], set[int]] = c_signal.pthread_sigmask
"""``signal.pthread_sigmask``, as a C function."""

_SIGNALS = sorted(signal.valid_signals())
# The thread that has caused one of these runs its handler: faulthandler reports a crash.
SYNCHRONOUS = {
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP,
    signal.SIGSYS,
}  # fmt: skip


def handled_signals() -> list[int]:
    """Return the signals that have a Python handler."""
    return [number for number in _SIGNALS if callable(c_signal.getsignal(number))]


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Return a context in which no Python signal handler runs; signals are raised after it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Handlers run in the main thread only.
        return
    caught: list[int] = []
    wakeup = -1
    handlers = {number: c_signal.getsignal(number) for number in handled_signals()}
    mask = set_mask(signal.SIG_BLOCK, ())
    try:
        # Signals are blocked only while handlers are exchanged: processes and threads started in
        # the context would inherit the mask. The code is not a function of its own, since a handler
        # may raise at the first line of a function.
        try:
            set_mask(signal.SIG_BLOCK, handlers)
            for number in handlers:
                c_signal.signal(number, lambda which, _: caught.append(which))
            # An event loop hears of each signal once, when it is raised again.
            wakeup = c_signal.set_wakeup_fd(-1)
        finally:
            set_mask(signal.SIG_SETMASK, mask)
        yield
    finally:
        try:
            set_mask(signal.SIG_BLOCK, handlers)
            for number, handler in handlers.items():
                c_signal.signal(number, handler)
            if wakeup >= 0:
                with contextlib.suppress(OSError, ValueError):  # it may be closed, or full
                    c_signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
                    # A blocked signal is raised once however often it came, but an event loop
                    # counts.
                    os.write(wakeup, bytes((Counter(caught) - Counter(set(caught))).elements()))
            for which in caught:
                signal.raise_signal(which)
        finally:
            set_mask(signal.SIG_SETMASK, mask)


def is_from_handler(error: BaseException) -> bool:
    """Return whether a signal handler has raised `error`."""
    codes = {
        getattr(function, "__code__", None)
        for handler in map(c_signal.getsignal, handled_signals())
        for function in (handler, type(handler).__call__)
    }
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


class suppressed(contextlib.suppress):  # noqa: N801 - named as its parent
    """A context that suppresses exceptions, except those that a signal handler raises in it."""

    def __exit__(self, *exception: Any) -> bool:
        return super().__exit__(*exception) and not is_from_handler(exception[1])


@contextlib.contextmanager
def signals_blocked(signals: Sequence[int]) -> Iterator[set[int]]:
    """Return a context in which signals are blocked in this thread; it gives the mask before."""
    mask = set_mask(signal.SIG_BLOCK, ())
    try:
        # This may raise what the handler of an earlier signal raises, and blocks nevertheless.
        set_mask(signal.SIG_BLOCK, signals)
        yield mask
    finally:
        set_mask(signal.SIG_SETMASK, mask)
