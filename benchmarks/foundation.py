"""Compare the foundation with NumPy, multiprocessing.Pool and sharedmem 0.3.8, as a table."""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import sharedmem

Call = Callable[[], Any]
SetUp = Callable[[int], Call]
OURS, OLD, NUMPY, POOL = "sharedmem", "sharedmem 0.3.8", "NumPy", "multiprocessing.Pool"
N_RESULTS = 16
CHUNK = 1 << 19  # elements; what a program for 0.3.8 takes for a task


def negative(i: int) -> int:
    return -i


def make_result(n: int) -> np.ndarray:
    return np.full(n, 2.0)


# What is timed. A set-up gets the size and returns the call. Those of 0.3.8 run under that
# version, in its own environment, and need nothing that it does not have.


def map_tasks(n: int) -> Call:
    def call() -> Any:
        with sharedmem.MapReduce() as pool:
            return pool.map(lambda i: -i, range(n))

    return call


def map_tasks_by_pool(n: int) -> Call:
    def call() -> Any:
        with multiprocessing.get_context("fork").Pool() as pool:
            return pool.map(negative, range(n))

    return call


def large_results(n: int) -> Call:
    def call() -> Any:
        with sharedmem.MapReduce() as pool:
            return pool.map(lambda _: make_result(n), range(N_RESULTS))

    return call


def large_results_by_pool(n: int) -> Call:
    def call() -> Any:
        with multiprocessing.get_context("fork").Pool() as pool:
            return pool.map(make_result, [n] * N_RESULTS, chunksize=1)

    return call


def full(n: int) -> Call:
    return lambda: sharedmem.full(n, 2.0)


def full_by_numpy(n: int) -> Call:
    return lambda: np.full(n, 2.0)


def copy(n: int) -> Call:
    a = np.full(n, 2.0)
    return lambda: sharedmem.copy(a)


def copy_by_numpy(n: int) -> Call:
    return np.full(n, 2.0).copy


def add(n: int) -> Call:
    a = sharedmem.full(n, 2.0)
    return lambda: sharedmem.sum(a)


def add_by_numpy(n: int) -> Call:
    return np.full(n, 2.0).sum


def add_by_old(n: int) -> Call:
    a = np.asarray(sharedmem.full(n, 2.0))

    def call() -> float:
        with sharedmem.MapReduce() as pool:
            return math.fsum(pool.map(lambda i: a[i : i + CHUNK].sum(), range(0, n, CHUNK)))

    return call


def root(n: int) -> Call:
    a = sharedmem.full(n, 2.0)
    return lambda: sharedmem.apply_ufunc(np.sqrt, a, out=a)


def root_by_numpy(n: int) -> Call:
    a = np.full(n, 2.0)
    return lambda: np.sqrt(a, out=a)


def root_by_old(n: int) -> Call:
    a = np.asarray(sharedmem.full(n, 2.0))

    def call() -> np.ndarray:
        with sharedmem.MapReduce() as pool:
            pool.map(
                lambda i: np.sqrt(a[i : i + CHUNK], out=a[i : i + CHUNK]).size, range(0, n, CHUNK)
            )
        return a

    return call


class Row(NamedTuple):
    """An operation, its contenders, and what the design asks for."""

    title: str
    size: int
    quick_size: int
    contenders: Mapping[str, SetUp]
    target: str


GIB, MIB = 1 << 30, 1 << 20
MAPS = {OURS: map_tasks, POOL: map_tasks_by_pool, OLD: map_tasks}
ROWS = {
    "map-2": Row("map of 2 tasks", 2, 2, MAPS, "4 ms, and faster than Pool"),
    "map-1000": Row("map of 1,000 tasks", 1000, 1000, MAPS, ""),
    "map-100000": Row(
        "map of 100,000 tasks", 100_000, 5000, MAPS, "0.25 us a task; no slower than Pool"
    ),
    "results": Row(
        "16 results of 32 MiB", 4 * MIB, MIB // 8,
        {OURS: large_results, POOL: large_results_by_pool, OLD: large_results},
        "6 x faster than Pool and 0.3.8",
    ),
    "full": Row(
        "full, 1 GiB", GIB // 8, MIB, {OURS: full, NUMPY: full_by_numpy, OLD: full},
        "0.8 of NumPy's time; 0.35 of 0.3.8's",
    ),
    "copy": Row(
        "copy, 1 GiB", GIB // 8, MIB, {OURS: copy, NUMPY: copy_by_numpy, OLD: copy}, ""
    ),
    "sum": Row(
        "sum, 1 GiB", GIB // 8, MIB, {OURS: add, NUMPY: add_by_numpy, OLD: add_by_old},
        "0.9 of the read limit, and no peer faster",
    ),
    "sqrt": Row(
        "sqrt in place, 1 GiB", GIB // 8, MIB,
        {OURS: root, NUMPY: root_by_numpy, OLD: root_by_old}, "1.8 x faster than NumPy",
    ),
}  # fmt: skip


class Here:
    """Runs a contender in this process."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def run(self) -> tuple[float, list[float]]:
        """Return the seconds that a call takes, and the ends of its result."""
        start = time.perf_counter()
        result = self.call()
        seconds = time.perf_counter() - start
        return seconds, ends(result)


class There:
    """Runs a contender in the environment of version 0.3.8, which has to be asked line by line."""

    def __init__(self, python: str, name: str, size: int) -> None:
        command = [python, "-P", __file__, "--serve", name, str(size)]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self) -> tuple[float, list[float]]:
        """Do as `Here.run` does."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        seconds, found = json.loads(self.process.stdout.readline())
        return seconds, found

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(name: str, size: int) -> None:
    """Be the other side of `There`."""
    here = Here(ROWS[name].contenders[OLD](size))
    for _ in sys.stdin:
        print(json.dumps(here.run()), flush=True)


def ends(result: Any) -> list[float]:
    """Return the first and the last number of a result, by which contenders are held together."""
    if isinstance(result, float):
        return [result]
    return [float(np.ravel(result[at])[at]) for at in (0, -1)]


def measure(name: str, size: int, rounds: int, old_python: str | None) -> dict[str, float]:
    """Return the median of the seconds of each contender, from rounds that take them in turn."""
    runners: dict[str, Here | There] = {
        contender: Here(set_up(size))
        for contender, set_up in ROWS[name].contenders.items()
        if contender != OLD
    }
    if old_python is not None:
        runners[OLD] = There(old_python, name, size)
    first = {contender: runner.run()[1] for contender, runner in runners.items()}  # warms up, too
    if any(found != first[OURS] for found in first.values()):
        sys.exit(f"{ROWS[name].title}: the contenders differ: {first}")
    seconds: dict[str, list[float]] = {contender: [] for contender in runners}
    for _ in range(rounds):
        for contender, runner in runners.items():
            gc.collect()
            seconds[contender].append(runner.run()[0])
    for runner in runners.values():
        if isinstance(runner, There):
            runner.close()
    return {contender: statistics.median(times) for contender, times in seconds.items()}


def in_words(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def table_row(row: Row, found: dict[str, float]) -> str:
    """Return a line of the table: our time, and for the others how many times ours they take."""
    cells = [row.title, in_words(found[OURS])]
    for contender in (NUMPY, POOL, OLD):
        seconds = found.get(contender)
        ratio = "" if seconds is None else f" ({seconds / found[OURS]:.2f} x)"
        cells.append("-" if seconds is None else in_words(seconds) + ratio)
    return f"| {' | '.join([*cells, row.target])} |"


def cpu_model() -> str:
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return models[0] if models else platform.machine()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old-python", help="interpreter of an environment with sharedmem 0.3.8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve[0], int(options.serve[1]))
        return
    print(
        f"{cpu_model()}, {os.cpu_count()} cores, {sharedmem.cpu_count()} workers; "
        f"Python {platform.python_version()}, NumPy {np.__version__}, sharedmem "
        f"{sharedmem.__version__}; medians of {options.rounds} interleaved rounds"
        f"{', at small sizes' if options.quick else ''}.\n"
        "In brackets: how many times as long as sharedmem.\n"
    )
    print(f"| what | {OURS} | {NUMPY} | {POOL} | {OLD} | the design asks for |")
    print("| --- " * 6 + "|")
    for name in options.only:
        row = ROWS[name]
        size = row.quick_size if options.quick else row.size
        print(table_row(row, measure(name, size, options.rounds, options.old_python)), flush=True)


if __name__ == "__main__":
    main()
