"""Signals held back while something must not be left half done."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

# Not those of module `signal`, which are written in Python: at their first lines an interrupt may
# come, and what was to be unblocked would stay blocked. Besides, they take 20 times as long.
_signal: Any = importlib.import_module("_signal")
set_mask: Callable[[int, Collection[int]], set[int]] = _signal.pthread_sigmask

_SIGNALS = sorted(signal.valid_signals())


def handled_signals() -> list[int]:
    """Return the signals that Python handles."""
    return [number for number in _SIGNALS if callable(_signal.getsignal(number))]


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold back the signals that Python handles: in this block no handler raises anything."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Handlers run in the main thread only.
        return
    caught: list[int] = []
    wakeup = -1
    handlers = {number: _signal.getsignal(number) for number in handled_signals()}
    mask = set_mask(signal.SIG_BLOCK, ())
    try:
        # Blocked only while handlers are exchanged: what is started in the block would inherit it.
        # In no function of its own, at whose first line an interrupt may come, too.
        try:
            set_mask(signal.SIG_BLOCK, handlers)
            for number in handlers:
                _signal.signal(number, lambda which, _: caught.append(which))
            # An event loop is told once of each signal, when it is raised again.
            wakeup = _signal.set_wakeup_fd(-1)
        finally:
            set_mask(signal.SIG_SETMASK, mask)
        yield
    finally:
        try:
            set_mask(signal.SIG_BLOCK, handlers)
            for number, handler in handlers.items():
                _signal.signal(number, handler)
            if wakeup >= 0:
                with contextlib.suppress(OSError, ValueError):  # it may be closed, or full
                    _signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
                    # Blocked ones become one each, but an event loop counts them.
                    os.write(wakeup, bytes((Counter(caught) - Counter(set(caught))).elements()))
            for which in caught:
                signal.raise_signal(which)
        finally:
            set_mask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def signals_blocked(signals: Sequence[int]) -> Iterator[set[int]]:
    """Block signals in this thread; they are handled after the block."""
    mask = set_mask(signal.SIG_BLOCK, ())
    try:
        # May raise what a handler raises, of a signal that has come before, and block nevertheless.
        set_mask(signal.SIG_BLOCK, signals)
        yield mask
    finally:
        set_mask(signal.SIG_SETMASK, mask)
