"""What a row of a benchmark is, and how its contenders are measured, each in its own process."""

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
from collections.abc import Callable, Iterator, Mapping
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
    """What a call returns that measures something else than its own time."""

    value: float
    result: Any = None


def in_seconds(value: float, _: int = 1) -> str:
    """Write seconds in a unit that suits them."""
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"


def in_bytes(value: float, _: int = 1) -> str:
    """Write bytes in a unit that suits them."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def per_item(value: float, size: int) -> str:
    """Write the seconds of `size` items as those of one."""
    return f"{value / size * 1e6:.3g} us"


# Of float64: the sizes of a row, and the bytes until which its short calls are repeated.
SIZES = {in_bytes(n).replace(" ", ""): n for n in (MIB, 8 * MIB, 128 * MIB, GIB)}
BYTES_A_TURN = 16 * MIB


class Row(NamedTuple):
    """An operation, its contenders, and what the design asks for.

    Attributes
    ----------
    title : str
        What is measured; "{size}" in it stands for the size, in bytes.
    size, quick_size : int
        What the set-ups get, and what they get when only trying.
    contenders : mapping
        The set-up of each: it gets the size, and returns the call that is timed.
    target : str
        What the design asks for.
    show : callable
        Writes a measured value, for the size.
    warms_up : bool
        Whether each turn begins with a call that is not timed. Memory that lay idle for some
        seconds is taken back from a virtual machine, and its next touch is slow: a copy of 1 GiB
        took 1000 ms in turns of 2 s, and 170 ms right after another copy.
    needs : int
        Bytes that all contenders need together. Where they are not free, the row is left out.
    lines : mapping
        Lines of code of each contender, where they count.
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
    """Time as many calls, on so many float64, as a turn needs, and return the seconds of one."""

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
    name: str, title: str, contenders: Mapping[str, SetUp], target: str, n_arrays: int = 1
) -> dict[str, Row]:
    """Return a row for each of `SIZES`, whose contenders hold so many arrays each."""
    found = {which: repeated(set_up) for which, set_up in contenders.items()}
    return {
        f"{name}-{size}": Row(
            f"{title}, {in_bytes(n_bytes)}", n_bytes // 8, MIB // 64, found, target,
            needs=(n_arrays * len(found) + 1) * n_bytes, warms_up=True,
        )
        for size, n_bytes in SIZES.items()
    }  # fmt: skip


def is_reference(which: str) -> bool:
    """Say whether a contender is no peer: the row's ideal, or a plain loop over memory."""
    return which == REFERENCE or which.startswith("a plain ")


@functools.cache
def scratch() -> Path:
    """Return a folder for input files, which all contenders of a run have in common."""
    if SCRATCH not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="benchmarks-")
        atexit.register(folder.cleanup)
        os.environ[SCRATCH] = folder.name
    return Path(os.environ[SCRATCH])


class FailedRowError(Exception):
    """A contender has ended, or differs from the others in its result."""


class Contender:
    """A process of its own, so that nobody pays for what another holds or has imported.

    Parameters
    ----------
    python : str
        Its interpreter.
    family, which : str
        Whose rows it has, and as which contender.
    """

    def __init__(self, python: str, family: str, which: str) -> None:
        # The path that leads to this package would hide version 0.3.8.
        self.name = which
        is_old = python != sys.executable
        environment = {k: v for k, v in os.environ.items() if not (is_old and k == "PYTHONPATH")}
        self.process = subprocess.Popen(
            [python, "-m", "harness.serve", family, which],
            cwd=BENCHMARKS, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def set_up(self, row: str, size: int) -> None:
        """Make a row's input, in place of that of the row before."""
        self._tell("set_up", row, size)
        self._listen()  # so that no other runs meanwhile

    def drop(self) -> None:
        """Let go of a row's input."""
        self._tell("drop")
        self._listen()

    def run(self) -> tuple[float, int, list[float]]:
        """Return what a call has measured, its page faults, and the ends of its result."""
        self._tell("run")
        value, n_faults, found = json.loads(self._listen())
        return value, n_faults, found

    def peak_memory(self) -> int:
        """Return by how many bytes it and its children grow in a call that is not timed."""
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
            raise FailedRowError(f"{self.name} failed; what it has said stands above")
        return answer

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


def family(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def memory(pid: int) -> int:
    """Return the bytes of a process; of what it shares with n others, an n-th."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


class Figures(NamedTuple):
    """What has been measured of a contender."""

    samples: list[float]
    page_faults: float
    peak_memory: int | None

    def as_json(self) -> dict[str, Any]:
        """Return it with its median and quartiles."""
        samples = self.samples * 2 if len(self.samples) == 1 else self.samples
        q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
        return {**self._asdict(), "median": median, "q1": q1, "q3": q3}


class Processes:
    """The contenders' processes, for rows one after the other.

    Parameters
    ----------
    rounds : int
        How often each is run, at most.
    old_python : str or None
        Interpreter of an environment with sharedmem 0.3.8.
    slow : float
        Seconds of a turn beyond which a contender is run once, and of rounds beyond which a row
        gets no more than three.
    """

    def __init__(self, rounds: int, old_python: str | None, slow: float) -> None:
        self.rounds, self.old_python, self.slow = rounds, old_python, slow
        self.there: dict[str, Contender] = {}

    def measure(self, family: str, name: str, row: Row, size: int) -> dict[str, Figures]:
        """Measure each contender, in rounds that take them in turn."""
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
            samples[which].clear()  # as it may have compiled
            faults[which].clear()
            if seconds > self.slow and turn(which) > self.slow:
                turns[which] = 1
            else:
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
        """End them all."""
        while self.there:
            self.there.popitem()[1].close()
