"""Time contenders in interleaved rounds, and print the medians as a table."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import sharedmem

Call = Callable[[], Any]
SetUp = Callable[[int], Call]
OURS, OLD, NUMPY, POOL = "sharedmem", "sharedmem 0.3.8", "NumPy", "multiprocessing.Pool"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# Of the memory that is free, for what a contender holds: the others need some too.
MEMORY_SHARE = 0.5
# Seconds: a contender that takes longer is run once, or a table would take an hour.
SLOW = 10.0


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
    """

    title: str
    size: int
    quick_size: int
    contenders: Mapping[str, SetUp]
    target: str = ""
    show: Callable[[float, int], str] = in_seconds
    warms_up: bool = False


class Contender:
    """A process of its own, so that nobody pays for what another holds or has imported.

    Parameters
    ----------
    python : str
        Its interpreter.
    arguments : str
        Which contender of the script it is, and the size.
    """

    def __init__(self, python: str, *arguments: str) -> None:
        # The path that leads to this package would hide version 0.3.8.
        self.name = " ".join(arguments)
        is_old = python != sys.executable
        environment = {k: v for k, v in os.environ.items() if not (is_old and k == "PYTHONPATH")}
        self.process = subprocess.Popen(
            [python, sys.argv[0], "--serve", *arguments],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._listen()  # so that no other runs while it is set up

    def run(self) -> tuple[float, list[float]]:
        """Return what a call has measured, and the ends of its result."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        value, found = json.loads(self._listen())
        return value, found

    def _listen(self) -> str:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} failed; what it has said stands above")
        return answer

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


def serve(call: Call, *, warms_up: bool) -> None:
    """Be the other side of `Contender`."""
    print("ready", flush=True)
    for _ in sys.stdin:
        if warms_up:
            call()
        gc.collect()
        start = time.perf_counter()
        result = call()
        value = time.perf_counter() - start
        if isinstance(result, Measured):
            value, result = result
        found = [] if result is None else [end(result, at) for at in (0, -1)]
        del result
        print(json.dumps((value, found)), flush=True)


def end(result: Any, at: int) -> float:
    """Return the first or the last number of a result, by which contenders are held together."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return end(result[at], at)
    return float(np.ravel(result)[at])


def measure(
    rows: Mapping[str, Row],
    name: str,
    size: int,
    rounds: int,
    old_python: str | None,
    without: frozenset[str] = frozenset(),
) -> dict[str, float]:
    """Return the median of each contender, from rounds that take them in turn."""
    with contextlib.ExitStack() as stack:
        contenders = {}
        for which in rows[name].contenders:
            python = old_python if which == OLD else sys.executable
            if python is not None and which not in without:
                contender = Contender(python, name, which, str(size))
                stack.callback(contender.close)
                contenders[which] = contender
        values, ends = {}, {}
        for which, contender in list(contenders.items()):
            start = time.perf_counter()
            value, ends[which] = contender.run()
            is_slow = time.perf_counter() - start > SLOW
            # What is not run again has its first value; for the others that was to warm up.
            values[which] = [value] if is_slow else []
            if is_slow:
                del contenders[which]
        if any(found and found != ends[OURS] for found in ends.values()):
            sys.exit(f"{rows[name].title}: the contenders differ: {ends}")
        for _ in range(rounds):
            for which, contender in contenders.items():
                values[which].append(contender.run()[0])
    return {which: statistics.median(found) for which, found in values.items()}


def cpu_model() -> str:
    """Return the name of the processor."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return models[0] if models else platform.machine()


def options_of(
    parser: argparse.ArgumentParser, rows: Mapping[str, Row], arguments: list[str] | None
) -> argparse.Namespace:
    """Return the options that all scripts have; does not return in the process of a contender."""
    parser.add_argument("--old-python", help="interpreter of an environment with sharedmem 0.3.8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--only", nargs="+", choices=list(rows), default=list(rows), metavar="ROW")
    parser.add_argument("--output", type=Path, metavar="FILE", help="keep what is printed here")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        name, which, size = options.serve
        serve(rows[name].contenders[which](int(size)), warms_up=rows[name].warms_up)
        sys.exit()
    return options


def heading(options: argparse.Namespace) -> str:
    """Say on what, and how, the numbers were taken."""
    return (
        f"{cpu_model()}, {os.cpu_count()} cores, {sharedmem.cpu_count()} workers; "
        f"Python {platform.python_version()}, NumPy {np.__version__}, sharedmem "
        f"{sharedmem.__version__}; medians of {options.rounds} interleaved rounds"
        f"{', at small sizes' if options.quick else ''}."
    )


def table(rows: Mapping[str, Row], options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table, each as soon as it is known."""
    others = list(dict.fromkeys(w for row in rows.values() for w in row.contenders if w != OURS))
    yield f"| what | {OURS} | {' | '.join(others)} | the design asks for |"
    yield "| --- " * (len(others) + 3) + "|"
    for name in options.only:
        row = rows[name]
        size = row.quick_size if options.quick else row.size
        if "{size}" in row.title:
            size = min(size, int(MEMORY_SHARE * sharedmem.available_memory()) // MIB * MIB)
        found = measure(rows, name, size, options.rounds, options.old_python)
        cells = [row.title.format(size=in_bytes(size)), row.show(found[OURS], size)]
        for which in others:
            value = found.get(which)
            ratio = f" ({value / found[OURS]:.2f} x)" if value and found[OURS] else ""
            cells.append("-" if value is None else row.show(value, size) + ratio)
        yield f"| {' | '.join([*cells, row.target])} |"


def print_table(
    description: str | None, rows: Mapping[str, Row], arguments: list[str] | None = None
) -> None:
    """Be the script that times `rows`."""
    options = options_of(argparse.ArgumentParser(description=description), rows, arguments)
    lines = [
        heading(options),
        f"In brackets: how many times as long, or as much, as {OURS}.\n",
    ]
    print("\n".join(lines))
    for line in table(rows, options):
        print(line, flush=True)
        lines.append(line)
    if options.output is not None:
        options.output.write_text("\n".join(lines) + "\n")
