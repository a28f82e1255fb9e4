"""Interrupts at each possible moment in turn."""

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
            if self.n_left < 0 and not _in_finalizer(frame):  # Python drops what is raised there.
                sys.setprofile(None)
                signal.raise_signal(self.number)

    def __enter__(self):
        sys.setprofile(self)

    def __exit__(self, *exception):
        sys.setprofile(None)


def _in_finalizer(frame):
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
