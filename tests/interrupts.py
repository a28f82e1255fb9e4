"""Interrupts at each possible moment in turn."""

import gc
import os
import signal
import sys


class Strike:
    """Interrupt a block at its n-th function call, or return from a C function.

    At these moments, Python checks for signals.
    """

    def __init__(self, at, number=signal.SIGINT):
        self.n_left = at
        self.number = number
        self.pid = os.getpid()

    def __call__(self, frame, event, argument):
        if event in ("call", "c_return") and os.getpid() == self.pid:
            self.n_left -= 1
            if self.n_left < 0 and not _is_dropped(frame):
                sys.setprofile(None)
                signal.raise_signal(self.number)

    def __enter__(self):
        sys.setprofile(self)

    def __exit__(self, *exception):
        sys.setprofile(None)


def _is_dropped(frame):
    """Return whether Python drops what is raised here: in finalizers, and callbacks of `gc`."""
    callbacks = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code in callbacks:
            return True
        frame = frame.f_back
    return False
