"""Pipes whose end of file tells a worker that its coordinator is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading

from sharedmem.machine.descriptors import with_descriptors


class LifeLine:
    """A pipe whose end of file tells a worker that its coordinator is gone.

    The kernel sends SIGKILL to the worker when the last write end is closed, also while the worker
    is inside a kernel and holds the GIL. (A watcher thread could not run then, and
    PR_SET_PDEATHSIG is sent when the thread that forked ends.) Each worker has its own pipe:
    before Linux 5.6 a worker that closes its end would send the signal to all others that read it.
    """

    def __init__(self) -> None:
        self._read_end, self._write_end = with_descriptors(os.pipe)
        _open_lines.add(self)

    def close(self) -> None:
        """Close both ends, once; a worker that is left is killed."""
        if self in _open_lines:
            _open_lines.remove(self)
            os.close(self._read_end)
            os.close(self._write_end)

    def close_in_child(self) -> None:
        """Close the write end in a child, and the read end unless it is for this child."""
        if self is not kept_at_fork.line:
            os.close(self._read_end)
        os.close(self._write_end)

    def own_reader(self) -> int:
        """Return a descriptor of the read end for one process, see `kill_at_end`."""
        # Owner and signal belong to an open file, and an inherited one is shared.
        path = f"/proc/self/fd/{self._read_end}"
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def follow(self) -> None:
        """Arrange that this process is killed when the coordinator is gone."""
        reader = self.own_reader()
        os.close(self._read_end)
        kill_at_end(reader, os.getpid())
        # The coordinator may have died before the signal was armed.
        with contextlib.suppress(BlockingIOError):
            os.read(reader, 1)
            os._exit(1)


def kill_at_end(reader: int, pid: int) -> None:
    """Arrange that a process, which keeps `reader` open, is killed at the end of its line."""
    fcntl.fcntl(reader, fcntl.F_SETOWN, pid)
    fcntl.fcntl(reader, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)


class _KeptAtFork(threading.local):
    line: LifeLine | None = None


kept_at_fork = _KeptAtFork()
"""The line of the worker that this thread is forking."""

_open_lines: set[LifeLine] = set()


def _close_in_child() -> None:
    """Close all lines in a child, where they would keep workers alive."""
    for line in list(_open_lines):
        line.close_in_child()
    _open_lines.clear()


os.register_at_fork(after_in_child=_close_in_child)
