"""The life of a spawned worker, from the start of its interpreter to its end."""

from __future__ import annotations

import contextlib
import multiprocessing.process  # noqa: F401 - for `forbid_child_processes`
import os
import socket
import traceback
from collections.abc import Sequence
from typing import NoReturn

from sharedmem.machine import cpython
from sharedmem.memory import open_files
from sharedmem.workers import task_context
from sharedmem.workers.channel import Channel
from sharedmem.workers.failures import describe_failure
from sharedmem.workers.pickling import UnpackingError
from sharedmem.workers.process import become_worker
from sharedmem.workers.process_port import ProcessPort


def main(mask: Sequence[int], descriptors: Sequence[int]) -> NoReturn:
    """Load the work that the coordinator sends first, do it, and exit.

    Parameters
    ----------
    mask : sequence of int
        The signals that are blocked from now on.
    descriptors : sequence of int
        The inherited descriptors: the end of a channel, the reader of a life line, and others.
    """
    code = 1
    try:
        for descriptor in descriptors:  # Programs that a task starts need none of them.
            os.set_inheritable(descriptor, False)
        end, reader, *_ = descriptors
        channel_end = socket.socket(fileno=end)  # which lasts until the process ends
        # The coordinator may have died before it could arrange for the end of this process.
        with contextlib.suppress(BlockingIOError):
            os.read(reader, 1)
            os._exit(1)
        become_worker({*mask})
        cpython.forbid_child_processes()
        open_files.enter_worker()
        task_context.enter_claims()
        code = _work(channel_end)
    except BaseException:
        with contextlib.suppress(Exception):
            traceback.print_exc()
    finally:
        _exit(code)


def _work(end: socket.socket) -> int:
    try:
        message = Channel(end).receive(block=True)
    except UnpackingError as error:
        where = f"Worker {error.index} could not load what it is to do"
        ProcessPort(Channel(end)).fail(-1, describe_failure(error.reason, where))
        return 1
    if message is not None:
        work, windowed = message.value
        work(message.task, ProcessPort(Channel(end, windowed=windowed)))
    return 0


def _exit(code: int) -> NoReturn:
    # This interpreter is the worker's own, but its threads, which it would wait for, may never end.
    with contextlib.suppress(BaseException):
        cpython.run_exit_handlers()
    open_files.flush_standard_streams()
    os._exit(code)
