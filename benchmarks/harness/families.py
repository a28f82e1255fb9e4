"""All rows of all scripts, and what they are held to: the one place that knows them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import NamedTuple

from harness.timing import Call, Row, SetUp

FLOAT64 = 8


class Family(NamedTuple):
    """The rows of one script.

    Attributes
    ----------
    title, text : str
        What stands above its table.
    quick : tuple of str
        The rows of a quick run, as patterns.
    limits : mapping
        The plain loop, of `limits.LOOPS`, that rows are held to; the first pattern that fits.
    stays : bool
        Whether contenders stay from row to row. A fork costs what the process holds, so those of
        rows that fork for each call are new ones.
    """

    title: str
    text: str
    quick: tuple[str, ...] = ()
    limits: Mapping[str, str] = {}
    stays: bool = False

    def is_quick(self, name: str) -> bool:
        """Say whether a quick run has the row."""
        return any(fnmatch(name, pattern) for pattern in self.quick)


PUBLISHED = """
Their own code and sizes, and ours beside it.
[mpire](https://github.com/sybrenjansen/multiprocessing_benchmarks): benchmark 1.
[numexpr](https://github.com/pydata/numexpr): the expressions of its README, there on 1e6 numbers,
and of `bench/vml_timing2.py`.
[joblib](https://github.com/joblib/joblib): `examples/parallel_memmap.py`, the memmap made before.
Dask: the [example of arrays](https://examples.dask.org/array.html) and the
[tutorial](https://tutorial.dask.org/02_array.html), the numbers made before.
numba: the first `prange` of [its manual](https://numba.readthedocs.io/en/stable/user/parallel.html),
which gives no size.
"""
FAMILIES = {
    "foundation": Family(
        "Arrays in shared memory", "Made, copied, summed and changed.", ("full-128MiB",),
        {"full*": "write", "zeros*": "write", "copy*": "copy", "sum": "read", "sqrt": "change"},
        True,
    ),
    "large": Family(
        "Arrays of 4 GiB", "Left out where the contenders do not fit into memory together.", (),
        {"full": "write", "copy": "copy", "*": "read"}, True,
    ),
    "reductions": Family(
        "Reductions", "Of all float64 of an array; bottleneck's are those that leave out nan.",
        ("sum-8MiB", "sum-128MiB", "var-128MiB"), {"*": "read"}, True,
    ),
    "axes": Family(
        "Reductions along an axis", "Of float64 in C order. The loop of prange is split along the "
        "axis where there are few others.", ("sum-columns", "max-tall-long"), {"*": "read"}, True,
    ),
    "elementwise": Family(
        "Expressions", "Into an array that is there; blosc2 makes a new one.",
        ("exp-8MiB", "add-f4"),
        {"*f4*": "", "exp*": "add", "compare*": "read of two", "add*": "copy", "sqrt*": "change"},
        True,
    ),
    "scans": Family(
        "Scans", "Into an array that is there, but for diff.", ("cumsum-8MiB",),
        {"diff": "", "*": "copy"}, True,
    ),
    "orders": Family(
        "Order", "Of random float64.", ("sort-8MiB", "median-8MiB"), stays=True
    ),
    "selection": Family(
        "Histograms and selections", "Of random numbers of 8 bytes.",
        ("histogram-edges", "bincount"),
        {"*-bins": "", "histogram*": "read", "bincount*": "read", "clip*": "copy"}, True,
    ),
    "random_fill": Family(
        "Random numbers", "Into an array that is there, where NumPy can do so.", ("normal",),
        {"*-f4": "", "*": "write"}, True,
    ),
    "files": Family("Arrays in files", "In the page cache, as far as that has room."),
    "pool": Family(
        "Start-up and tasks", "The workers of joblib stay from call to call; all others start.",
        ("start-2", "equal-2"),
    ),
    "inputs": Family(
        "Large inputs",
        "multiprocessing and concurrent.futures pickle them, joblib writes them to a file that it "
        "maps, and the others inherit them; mpire has `shared_objects` for that.",
    ),
    "results": Family(
        "Results, and imap", "Memory is that of the coordinator.", ("results-shared",)
    ),
    "sections": Family(
        "Ordered, critical, barrier", "Sections of one worker at a time.", ("ordered-2", "critical")
    ),
    "growth": Family(
        "Growth", "A slope of 1 is linear; below, something constant still counts.",
        ("tasks-100", "tasks-1000", "workers-[28]", "sum-524288", "sum-33554432"),
    ),
    "scaling": Family(
        "More workers", "Threads of one process, those of numba and numexpr as many as there are "
        "cores at most; tasks are those of processes. A slope of -1 is ideal up to the number of "
        "cores, and 0 beyond.", ("sum-[14]", "sum-16"), stays=True,
    ),
    "published": Family("What the peers publish", PUBLISHED.strip(), ("numexpr-[01]",)),
    "programs": Family(
        "Whole programs", "Time, and lines of code without imports. They are in "
        "`benchmarks/programs/`.", ("monte_carlo",),
    ),
    "cluster": Family(
        "On a Dask cluster", "Of this machine, with a process for each core. The reference is this "
        "package without it: forked workers, or threads, on the same cores.",
        ("tasks-1000", "sum", "persisted"), stays=True,
    ),
    "cold_start": Family(
        "The first call of a new process", "Without the start of the interpreter.", ("import",)
    ),
}  # fmt: skip


def rows(family: str) -> dict[str, Row]:
    """Return the rows of a family, each with its limit among the contenders."""
    found: dict[str, Row] = importlib.import_module(f"rows.{family}").ROWS
    for name, row in found.items():
        limit = next((v for k, v in FAMILIES[family].limits.items() if fnmatch(name, k)), "")
        which = f"a plain {limit}"
        if limit and which not in row.contenders:
            contenders = {**row.contenders, which: plain(limit)}
            found[name] = row._replace(contenders=contenders)
    return found


def plain(limit: str) -> SetUp:
    def set_up(size: int) -> Call:
        from harness import limits

        return limits.timed(limit, size * FLOAT64)

    return set_up


def selected(patterns: list[str], *, quick: bool = False) -> dict[str, tuple[str, Row]]:
    """Return the families and rows that patterns name, such as ``pool`` or ``reductions/sum*``."""
    found = {}
    split = [(pattern.partition("/")[0], pattern.partition("/")[2] or "*") for pattern in patterns]
    for family, about in FAMILIES.items():
        mine = [row for name, row in split if fnmatch(family, name)]
        for name, row in (rows(family) if mine else {}).items():
            if any(fnmatch(name, p) for p in mine) and (about.is_quick(name) or not quick):
                found[f"{family}/{name}"] = (family, row)
    return found
