"""Run scenarios in interpreters of their own, and check from outside what they leave behind."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from scenario import SCENARIOS, Case

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
for module in sorted(HERE.glob("scenarios_*.py")):
    importlib.import_module(module.stem)

# Output is buffered, as in most programs.
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{HERE}"}
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)
# Workers are killed immediately when their coordinator ends, but freeing memory takes a moment.
GRACE_SECONDS = 1.0
N_INTERPRETERS = len(os.sched_getaffinity(0))


class Outcome(NamedTuple):
    """The outcome of a case.

    Attributes
    ----------
    ending : str
        What the call raised, or that it returned.
    faults : str
        Everything that is wrong; empty if nothing is.
    seconds : float
        The duration of one round.
    """

    ending: str
    faults: str
    seconds: float


Outcomes = dict[Case, Outcome]


def run(name: str, backend: str, workers: Sequence[int], seed: str, repeats: int = 1) -> Outcomes:
    """Run cases of one scenario in an interpreter and a session of their own.

    All share one interpreter, a fork of one that has imported the package and called nothing.
    """
    scenario = SCENARIOS[name]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output").open("w+") as output:
        report = Path(folder) / "report"
        shm = _private_shm(folder)
        before = os.listdir(shm)
        process = _Fork(
            *(folder, shm, scenario.module, name, backend, list(workers), seed, repeats),
            str(report),
        )
        faults = []
        # The interpreter itself enforces the limit of each round.
        code = process.wait((repeats * len(workers) + 1) * scenario.limit)
        seconds = time.perf_counter() - began
        faults += _end_session(process)
        if code != (scenario.exits or 0):
            faults.append(f"exit code {code};")
        output.seek(0)
        if not re.fullmatch(scenario.prints, printed := output.read(), re.DOTALL):
            faults.append(f"it printed:\n{printed}")
        if new := _new_files(shm, before):
            faults.append(f"left in /dev/shm: {new};")
        reports = report.read_text().splitlines() if report.exists() else []
    performed = {n: Outcome(*rest) for n, *rest in map(json.loads, reports)}
    if scenario.exits is None:
        not_reached = Outcome("none", "its interpreter ended before;", seconds)
    else:
        not_reached = Outcome(f"exit code {code}", "", seconds)
    return {
        Case(name, backend, n): Outcome(ending, " ".join(filter(None, [inside, *faults])), took)
        for n in workers
        for ending, inside, took in [performed.get(n, not_reached)]
    }


def start_load(seconds: float, seed: str) -> subprocess.Popen[str]:
    """Start a process that runs pools under load."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "load.py"), "--seconds", str(seconds), "--seed", seed],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class _Fork:
    """An interpreter: a fork of one that has imported the package, and has not called it."""

    def __init__(self, *request: Any) -> None:
        self.code: int | None = None
        self._parent = _IDLE.pop() if _IDLE else _start()
        self._parent.stdin.write(f"{json.dumps(request)}\n".encode())
        self.pid = int(self._parent.stdout.readline())

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, or None if it has not ended after this time."""
        if self.code is None and select.select([self._parent.stdout], [], [], seconds)[0]:
            self.code = int(self._parent.stdout.readline())
            _IDLE.append(self._parent)
        return self.code


# They end when this process does, which closes their standard input.
_IDLE: list[Any] = []


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "performance.py")],
        bufsize=0,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _end_session(process: _Fork) -> list[str]:
    """Wait for all processes of a session to end, and kill the rest."""
    deadline = time.monotonic() + GRACE_SECONDS
    if process.code is None:
        deadline = 0.0
    while (left := list(_alive_in(process.pid))) and time.monotonic() < deadline:
        time.sleep(0.005)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    return [f"{len(left)} processes outlived it;"] if left else []


def _alive_in(session: int) -> Iterator[int]:
    """Yield the processes of a session that are not zombies."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with (
                suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{name}/stat") as file,
            ):
                # After the name, in parentheses: state, parent, group, session.
                state, _, _, its_session, *_ = file.read().rpartition(")")[2].split()
                if int(its_session) == session and state not in "ZX":
                    yield int(name)


def _private_shm(folder: str) -> str:
    """Return the folder that an interpreter sees as /dev/shm: a private one, if possible."""
    if not _can_unshare():
        return "/dev/shm"
    own = Path(folder) / "shm"
    own.mkdir()
    return str(own)


@functools.cache
def _can_unshare() -> bool:
    probe = ["unshare", "--mount", "true"]
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(probe, stderr=subprocess.DEVNULL).returncode
    )


def _new_files(folder: str, before: Sequence[str]) -> set[str]:
    # If it is not private, semaphores of other programs have a name there for a moment.
    deadline = time.monotonic() + GRACE_SECONDS
    while (new := {*os.listdir(folder)} - {*before}) and time.monotonic() < deadline:
        time.sleep(0.01)
    return new


def shared_memory_kib() -> int:
    """Return the shared memory in use on the machine, in KiB."""
    return next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("Shmem:")
    )


def new_seed() -> str:
    """Return a random seed, which is printed so that a failure can be repeated."""
    return secrets.token_hex(4)
