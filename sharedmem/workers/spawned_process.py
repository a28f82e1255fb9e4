"""A spawned worker: the start of a fresh interpreter, which inherits descriptors and settings."""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sharedmem.machine import cpython
from sharedmem.machine.descriptors import with_descriptors
from sharedmem.machine.signals import signals_blocked
from sharedmem.memory.memory_files import anonymous_file, write_all
from sharedmem.workers.child_process import ChildProcess
from sharedmem.workers.life_line import LifeLine, kill_at_end

# What the interpreter runs. What this one imports, it finds in the same places.
_PROGRAM = """\
import marshal, os, sys
settings, *descriptors = map(int, sys.argv[1:])
content = os.pread(settings, os.fstat(settings).st_size, 0)
os.close(settings)
sys.path[:], sys.argv[:], mask = marshal.loads(content)
from sharedmem.workers.spawned_worker import main
main(mask, descriptors)
"""
# Each library reads its own of these before it starts threads, as do numba's parallel loops.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def _current_directory() -> Path:
    with contextlib.suppress(FileNotFoundError):  # it was removed
        return Path.cwd()
    return Path(os.sep)


# This module is imported with the package, usually before the program changes its directory.
_first_directory = _current_directory()


class Interpreter(NamedTuple):
    """How an interpreter is started.

    Attributes
    ----------
    path : str
        The program.
    options : list of str
        Its options.
    environment : dict of str to str
        The variables of its environment.
    """

    path: str
    options: list[str]
    environment: dict[str, str]


def this_interpreter(n_threads: int | None) -> Interpreter:
    """Return how an interpreter like this one is started, as a worker.

    Parameters
    ----------
    n_threads : int or None
        The threads that libraries may use in it; None sets no limit.

    Raises
    ------
    FileNotFoundError
        If there is none: Python is embedded in another program.
    """
    from multiprocessing.spawn import get_executable

    path = os.fsdecode(get_executable() or "")
    is_program = getattr(sys, "frozen", False) and path == sys.executable
    if not path or is_program or not os.access(path, os.X_OK):
        what = "this program, not an interpreter" if is_program else "not a program that can be run"
        raise FileNotFoundError(
            f"SpawnBackend starts workers by sys.executable, and {path!r} is {what}: set the path "
            "of the Python interpreter by multiprocessing.set_executable(path)"
        )
    environment = {**os.environ}
    # An interpreter that reads commands after its program would wait for a terminal.
    environment.pop("PYTHONINSPECT", None)
    if n_threads is not None:
        environment.update(dict.fromkeys(_THREAD_VARIABLES, str(n_threads)))
    if "mpi4py" in sys.modules:
        # Workers inherit the variables of MPI, and must not pass for this rank.
        environment["MPI4PY_RC_INITIALIZE"] = "0"
    return Interpreter(path, cpython.interpreter_flags(), environment)


class SpawnedProcess(ChildProcess):
    """A process that runs `spawned_worker.main` in a fresh interpreter.

    Parameters
    ----------
    interpreter : Interpreter
        How it is started.
    line : LifeLine
        The pipe that kills the worker when the coordinator is gone.
    descriptors : sequence of int
        Descriptors that the process inherits under the same numbers; the first is the worker's end
        of its channel.

    Raises
    ------
    OSError
        If the system refuses a process or descriptor.
    """

    def __init__(
        self, interpreter: Interpreter, line: LifeLine, descriptors: Sequence[int]
    ) -> None:
        super().__init__(lambda held: _spawn(interpreter, line, descriptors, held))


def _spawn(interpreter: Interpreter, line: LifeLine, descriptors: Sequence[int], held: int) -> int:
    import subprocess  # which few programs need

    opened = []
    try:
        # SIGINT is blocked until the worker has its handler: Ctrl-C reaches it while it starts.
        with signals_blocked([signal.SIGINT]) as mask:
            opened.append(with_descriptors(line.own_reader))
            opened.append(_file_of(_search_path(), [*map(str, sys.argv)], sorted(mask)))
            reader, settings = opened
            kept = [settings, descriptors[0], reader, *descriptors[1:]]
            process = with_descriptors(
                lambda: subprocess.Popen(
                    [interpreter.path, *interpreter.options, "-c", _PROGRAM, *map(str, kept)],
                    env=interpreter.environment,
                    pass_fds=kept if held < 0 else [*kept, held],
                )
            )
        process.returncode = 0  # Otherwise Popen would wait for it when it is freed.
        with contextlib.suppress(ProcessLookupError):  # It has ended, and was waited for.
            kill_at_end(reader, process.pid)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return process.pid


def _file_of(path: list[str], arguments: list[str], mask: list[int]) -> int:
    content = marshal.dumps((path, arguments, mask))
    file = anonymous_file("sharedmem-settings")
    write_all(file, memoryview(content), 0)
    return file


def _search_path() -> list[str]:
    """Return ``sys.path``, with what its relative entries meant before ``os.chdir``."""
    entries = [str(entry) for entry in sys.path if isinstance(entry, str)]
    places = [place for entry in entries for place in (entry, str(_first_directory / entry))]
    return [*dict.fromkeys(places)]
