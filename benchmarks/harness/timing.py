"""Rows of benchmarks, and the measurement of their contenders, each in its own process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Call = Callable[[], Any]
SetUp = Callable[[int], Call]
OURS, OLD, NUMPY, POOL = "sharedmem", "sharedmem 0.3.8", "NumPy", "multiprocessing.Pool"
REFERENCE = "reference"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
WATCH_SECONDS = 2e-3
LIMIT_SECONDS = 300.0
FEW_ROUNDS = 3
BENCHMARKS = Path(__file__).parents[1]
SCRATCH = "BENCHMARKS_SCRATCH"


class Measured(NamedTuple):
    """The result of a call that measures something other than its own duration."""

    value: float
    result: Any = None


def in_seconds(value: float, _: int = 1) -> str:
    """Format seconds with a suitable unit."""
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"


def in_bytes(value: float, _: int = 1) -> str:
    """Format bytes with a suitable unit."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def per_item(value: float, size: int) -> str:
    """Format the seconds per item."""
    return f"{value / size * 1e6:.3g} us"


# Bytes of float64 arrays, by name; and the bytes that a turn of repeated short calls processes.
SIZES = {in_bytes(n).replace(" ", ""): n for n in (MIB, 8 * MIB, 128 * MIB, GIB)}
BYTES_A_TURN = 16 * MIB


class Row(NamedTuple):
    """An operation, its contenders, and its target.

    Attributes
    ----------
    title : str
        What is measured; "{size}" is replaced by the size, in bytes.
    size, quick_size : int
        The argument of the set-ups, and their argument in a run with small sizes.
    contenders : mapping
        The set-up of each contender: it takes the size, and returns the call to time.
    target : str
        The performance target.
    show : callable
        Formats a measured value, given the size.
    warms_up : bool
        Whether each turn begins with a call that is not timed. The host takes idle memory back from
        a virtual machine, and the next access to it is slow.
    needs : int
        Bytes that all contenders need together. The row is skipped if they are not free.
    lines : mapping
        Lines of code of each contender, for whole programs.
    """

    title: str
    size: int
    quick_size: int
    contenders: Mapping[str, SetUp]
    target: str = ""
    show: Callable[[float, int], str] = in_seconds
    warms_up: bool = False
    needs: int = 0
    lines: Mapping[str, int] = {}


def repeated(set_up: SetUp) -> SetUp:
    """Repeat short calls within a turn, and measure the seconds per call."""

    def set_up_repeated(n: int) -> Call:
        call = set_up(n)
        n_calls = max(1, BYTES_A_TURN // (8 * n))

        def turn() -> Measured:
            start = time.perf_counter()
            for _ in range(n_calls):
                result = call()
            return Measured((time.perf_counter() - start) / n_calls, result)

        return turn

    return set_up_repeated


def of_sizes(
    name: str,
    title: str,
    contenders: Mapping[str, SetUp],
    target: str,
    n_arrays: int = 1,
    only: Iterable[str] = tuple(SIZES),
) -> dict[str, Row]:
    """Return one row per size of `only`; each contender holds `n_arrays` arrays."""
    found = {which: repeated(set_up) for which, set_up in contenders.items()}
    return {
        f"{name}-{size}": Row(
            f"{title}, {in_bytes(n_bytes)}", n_bytes // 8, MIB // 64, found, target,
            needs=(n_arrays * len(found) + 1) * n_bytes, warms_up=True,
        )
        for size, n_bytes in SIZES.items()
        if size in only
    }  # fmt: skip


def is_reference(which: str) -> bool:
    """Return whether a contender is not a peer: the reference of a row, or a plain loop."""
    return which == REFERENCE or which.startswith("a plain ")


@functools.cache
def scratch() -> Path:
    """Return the folder of input files that all contenders of a run share."""
    if SCRATCH not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="benchmarks-")
        atexit.register(folder.cleanup)
        os.environ[SCRATCH] = folder.name
    return Path(os.environ[SCRATCH])


class FailedRowError(Exception):
    """A contender has failed, or its result differs from that of the others."""


class Contender:
    """A process per contender, so that none pays for the memory or imports of another.

    Parameters
    ----------
    python : str
        The interpreter.
    family, which : str
        The family of its rows, and the name of the contender.
    """

    def __init__(self, python: str, family: str, which: str) -> None:
        # A path to this package would hide version 0.3.8.
        self.name = which
        is_old = python != sys.executable
        environment = {k: v for k, v in os.environ.items() if not (is_old and k == "PYTHONPATH")}
        self.process = subprocess.Popen(
            [python, "-m", "harness.serve", family, which],
            cwd=BENCHMARKS, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def set_up(self, row: str, size: int) -> None:
        """Set up a row; the input of the previous row is freed."""
        self._tell("set_up", row, size)
        self._listen()  # so that no other contender runs meanwhile

    def drop(self) -> None:
        """Free the input of a row."""
        self._tell("drop")
        self._listen()

    def run(self) -> tuple[float, int, list[float]]:
        """Make a call; return the measured value, the page faults, and the ends of the result."""
        self._tell("run")
        value, n_faults, found = json.loads(self._listen())
        return value, n_faults, found

    def peak_memory(self) -> int:
        """Make an untimed call; return by how many bytes the process and its children grow."""
        assert self.process.stdout is not None
        before = peak = sum(map(memory, family(self.process.pid)))
        self._tell("run")
        while not select.select([self.process.stdout], [], [], WATCH_SECONDS)[0]:
            peak = max(peak, sum(map(memory, family(self.process.pid))))
        self._listen()
        return peak - before

    def _tell(self, *message: Any) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def _listen(self) -> str:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], LIMIT_SECONDS)[0]:
            self.process.kill()
            raise FailedRowError(f"{self.name} has not answered for {LIMIT_SECONDS:.0f} s")
        answer = self.process.stdout.readline()
        if not answer:
            raise FailedRowError(f"{self.name} failed; its error output is above")
        return answer

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


def family(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def memory(pid: int) -> int:
    """Return the proportional set size of a process, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


class Figures(NamedTuple):
    """The measurements of a contender."""

    samples: list[float]
    page_faults: float
    peak_memory: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the measurements with their median and quartiles."""
        samples = self.samples * 2 if len(self.samples) == 1 else self.samples
        q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
        return {**self._asdict(), "median": median, "q1": q1, "q3": q3}


class Processes:
    """The processes of contenders, kept from row to row.

    Parameters
    ----------
    rounds : int
        The maximum number of turns of each contender.
    old_python : str or None
        Interpreter of an environment with sharedmem 0.3.8.
    slow : float
        Seconds. A contender whose turn takes longer runs once; a row whose rounds take longer gets
        no more than three.
    """

    def __init__(self, rounds: int, old_python: str | None, slow: float) -> None:
        self.rounds, self.old_python, self.slow = rounds, old_python, slow
        self.there: dict[str, Contender] = {}

    def measure(self, family: str, name: str, row: Row, size: int) -> dict[str, Figures]:
        """Measure all contenders in interleaved rounds."""
        contenders = {which: self._start(family, which) for which in row.contenders}
        taking_part = {which: c for which, c in contenders.items() if c is not None}
        for contender in taking_part.values():
            contender.set_up(name, size)
        found = self._rounds(row, taking_part)
        for contender in taking_part.values():
            contender.drop()
        return found

    def _start(self, family: str, which: str) -> Contender | None:
        python = self.old_python if which == OLD else sys.executable
        if which not in self.there and python is not None:
            self.there[which] = Contender(python, family, which)
        return self.there.get(which)

    def _rounds(self, row: Row, contenders: dict[str, Contender]) -> dict[str, Figures]:
        ends = {}
        samples: dict[str, list[float]] = {which: [] for which in contenders}
        faults: dict[str, list[int]] = {which: [] for which in contenders}
        peaks: dict[str, int | None] = dict.fromkeys(contenders)
        turns = dict.fromkeys(contenders, self.rounds)

        def turn(which: str) -> float:
            start = time.perf_counter()
            value, n_faults, ends[which] = contenders[which].run()
            samples[which].append(value)
            faults[which].append(n_faults)
            return time.perf_counter() - start

        for which, contender in contenders.items():
            seconds = turn(which)
            samples[which].clear()  # the first call may have compiled
            faults[which].clear()
            if seconds > self.slow and turn(which) > self.slow:
                turns[which] = 1
                continue
            samples[which].clear()
            faults[which].clear()
            peaks[which] = contender.peak_memory()
        if any(found and found != ends[OURS] for found in ends.values()):
            raise FailedRowError(f"{row.title}: the contenders differ: {ends}")
        start = time.perf_counter()
        for k in range(self.rounds):
            if k >= FEW_ROUNDS and time.perf_counter() - start > self.slow:
                break
            for which in contenders:
                if len(samples[which]) < min(turns[which], k + 1):
                    turn(which)
        return {
            which: Figures(samples[which], statistics.median(faults[which]), peaks[which])
            for which in contenders
        }

    def close(self) -> None:
        """End all processes."""
        while self.there:
            self.there.popitem()[1].close()
