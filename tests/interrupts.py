"""Interrupts at every moment in turn."""

import os
import signal
import sys


class Strike:
    """Interrupts its block at a function call, or after a call of a function written in C.

    These are the moments at which Python looks whether there was a signal.
    """

    def __init__(self, at):
        self.n_left = at
        self.pid = os.getpid()

    def __call__(self, frame, event, argument):
        if event in ("call", "c_return") and os.getpid() == self.pid:
            self.n_left -= 1
            if self.n_left < 0:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

    def __enter__(self):
        sys.setprofile(self)

    def __exit__(self, *exception):
        sys.setprofile(None)
