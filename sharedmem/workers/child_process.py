"""A child process of this one: how it is watched, killed, and waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable

from sharedmem.machine.descriptors import with_descriptors


class ChildProcess:
    """A child process, which is waited for even if other code may have done so.

    Parameters
    ----------
    start : callable
        Starts the process and returns its number. Called with a descriptor that the process is to
        hold open until its end, or -1 if that is not needed.

    Attributes
    ----------
    pid : int
        The number of the process.

    Raises
    ------
    OSError
        If the system refuses a process or descriptor.
    """

    def __init__(self, start: Callable[[int], int]) -> None:
        self._status: int | None = None
        self._is_over = False
        # One thread may kill the process while another one waits for it, and its number is reused.
        self._ending = threading.Lock()
        self.sentinel, held_by_process = (-1, -1) if _PIDFD_WORKS else with_descriptors(os.pipe)
        try:
            self.pid = start(held_by_process)
        except OSError:
            if self.sentinel >= 0:
                os.close(self.sentinel)
            raise
        finally:
            if held_by_process >= 0:
                os.close(held_by_process)

    def watch(self) -> int:
        """Return a descriptor that is readable once the process has ended."""
        if self.sentinel < 0:
            try:
                self.sentinel = with_descriptors(lambda: os.pidfd_open(self.pid))
            except ProcessLookupError:  # It has ended, and other code has waited for it.
                self._is_over = True
                self.sentinel, write_end = with_descriptors(os.pipe)
                os.close(write_end)
        return self.sentinel

    def kill(self) -> None:
        """Send SIGKILL, unless the process has already been waited for."""
        with self._ending, contextlib.suppress(ProcessLookupError):
            if self._is_over:
                return
            # If other code has waited for the process, its number may be that of another process.
            descriptor = -1
            if _PIDFD_WORKS:
                with contextlib.suppress(OSError):  # no descriptor is left
                    descriptor = self.watch()
            if descriptor < 0:
                os.kill(self.pid, signal.SIGKILL)
            elif not self._is_over:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)

    def wait(self) -> int | None:
        """Wait for the end; return the exit code, or minus the number of the signal that killed it.

        Return None if other code in this process (a SIGCHLD handler, ``os.wait()``) has taken the
        status.
        """
        with self._ending:
            if not self._is_over:
                with contextlib.suppress(ChildProcessError):
                    self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                self._is_over = True
            if self.sentinel >= 0:
                sentinel, self.sentinel = self.sentinel, -1
                os.close(sentinel)
            return self._status

    def how_ended(self) -> str:
        """Wait for the end; return how the process ended, in words."""
        code = self.wait()
        if code is None:
            return (
                "has ended; its status is unknown, since other code in this process has waited "
                "for it (a SIGCHLD handler, os.wait())"
            )
        if code >= 0:
            return f"exited with status {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}"


def _pidfd_works() -> bool:
    # Linux < 5.3 (RHEL 8) has no pidfd; there a pipe serves that is closed with the worker.
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


_PIDFD_WORKS = _pidfd_works()
