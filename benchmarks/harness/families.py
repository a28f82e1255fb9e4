"""The families of rows: titles, quick rows, and the plain loop that bounds each row."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import NamedTuple

from harness.timing import Call, Row, SetUp

FLOAT64 = 8


class Family(NamedTuple):
    """The rows of one module of `rows/`.

    Attributes
    ----------
    title, text : str
        The heading and the text above its table.
    quick : tuple of str
        The rows of a quick run, as patterns.
    limits : mapping
        The plain loop, a key of `limits.LOOPS`, that bounds a row; the first matching pattern
        counts.
    by_hand : bool
        Whether its rows run only if they are named: they take minutes.
    stays : bool
        Whether processes of contenders are kept for the next row. The cost of a fork grows with the
        memory of the process, so rows that fork per call start new ones.
    """

    title: str
    text: str
    quick: tuple[str, ...] = ()
    limits: Mapping[str, str] = {}
    stays: bool = False
    by_hand: bool = False

    def is_quick(self, name: str) -> bool:
        """Return whether a quick run includes the row."""
        return any(fnmatch(name, pattern) for pattern in self.quick)


PUBLISHED = """
The code and the sizes that they publish, and the same with sharedmem.
[numexpr](https://github.com/pydata/numexpr): the expressions of its README, there on 1e6 numbers,
and of `bench/vml_timing2.py`.
[joblib](https://github.com/joblib/joblib): `examples/parallel_memmap.py`, without creating
the memmap.
Dask: the [example of arrays](https://examples.dask.org/array.html) and the
[tutorial](https://tutorial.dask.org/02_array.html), without creating the input.
numba: the first `prange` of [its manual](https://numba.readthedocs.io/en/stable/user/parallel.html),
which gives no size.
"""
FAMILIES = {
    "foundation": Family(
        "Arrays in shared memory", "Create, copy, sum, and change an array.", ("full-128MiB",),
        {"full*": "write", "zeros*": "write", "copy*": "copy", "sum": "read", "sqrt": "change"},
        True,
    ),
    "large": Family(
        "Large inputs, by hand", "`run.py --only large`: not a part of `make bench`.", (),
        {"full": "write", "copy": "copy", "sum": "read"}, True, by_hand=True,
    ),
    "reductions": Family(
        "Reductions", "Over all elements of a float64 array. Bottleneck's functions ignore NaN.",
        ("sum-8MiB", "sum-128MiB", "var-128MiB"), {"*": "read"}, True,
    ),
    "axes": Family(
        "Reductions along an axis", "Arrays of float64 in C order. The prange loop splits the axis "
        "if the other axes are too short for all threads.",
        ("sum-columns", "max-tall-long"), {"*": "read"}, True,
    ),
    "elementwise": Family(
        "Expressions", "Into an existing array; blosc2 creates a new one.",
        ("exp-8MiB", "add-f4"),
        {"*f4*": "", "exp*": "add", "compare*": "read of two", "add*": "copy", "sqrt*": "change"},
        True,
    ),
    "one_pass": Family(
        "Several results in one pass", "Each contender as its users write it: sums of the prange "
        "loops have fast-math and are not compensated.", ("means",), {"[mcs]*": "read of two"},
        True,
    ),
    "scans": Family(
        "Cumulative functions", "Into an existing array, except diff.", ("cumsum-8MiB",),
        {"diff": "", "*": "copy"}, True,
    ),
    "orders": Family(
        "Sorting and order statistics", "Of random float64, except where a row names other data.",
        ("sort-8MiB", "median-8MiB", "sort-nearly-sorted"),
        stays=True,
    ),
    "selection": Family(
        "Histograms and selection", "Of random 8-byte numbers.",
        ("histogram-edges", "bincount"),
        {"*-bins": "", "histogram*": "read", "bincount*": "read", "clip*": "copy"}, True,
    ),
    "groups": Family(
        "Groups", "Of float64, with labels of 8 bytes. The loop's sums are not compensated.",
        ("mean-1000",), {"median": "", "*": "read of two"}, True,
    ),
    "random_fill": Family(
        "Random numbers", "Into an existing array, if NumPy supports it.", ("normal",),
        {"*-f4": "", "*": "write"}, True,
    ),
    "files": Family("Arrays in files", "Files are in the page cache, if they fit."),
    "pool": Family(
        "Start-up and tasks", "joblib keeps its workers from call to call; others start new ones.",
        ("start-2", "equal-2"),
    ),
    "persistent": Family(
        "Workers that stay", "Programs that call a pool many times, with its start and its end. "
        "The reference is a pool that forks its workers at each call.",
        ("maps", "emcee", "submit"),
    ),
    "inputs": Family(
        "Large inputs",
        "multiprocessing and concurrent.futures pickle them, joblib writes them to a file and maps "
        "it, and the others inherit them (mpire with `shared_objects`).",
    ),
    "results": Family(
        "Results and imap", "Memory is that of the coordinator.", ("results-shared",)
    ),
    "share": Family(
        "Objects given to workers",
        "To workers that were started before, and that read the whole object. sharedmem shares a "
        "copy (`share`, and `SharedList` for dicts), joblib writes a file and maps it, Ray puts a "
        "copy into its store, and multiprocessing pickles. Memory is the growth of all processes "
        "above the object itself, with shared pages counted once.",
        ("csr", "records-memory", "small-empty"),
    ),
    "sections": Family(
        "Ordered and critical sections, barriers", "Sections run in one worker at a time.",
        ("ordered-2", "critical"),
    ),
    "growth": Family(
        "Growth with the problem size", "A slope of 1 is linear; below 1, a fixed cost matters.",
        ("tasks-100", "tasks-1000", "workers-[28]", "sum-524288", "sum-33554432"),
    ),
    "scaling": Family(
        "Growth with the number of workers", "Array functions use threads, those of numba and "
        "numexpr at most one per core; tasks use processes. A slope of -1 is ideal up to the "
        "number of cores, and 0 beyond.", ("sum-[14]", "sum-16"), stays=True,
    ),
    "published": Family("What the peers publish", PUBLISHED.strip(), ("numexpr-[01]",)),
    "programs": Family(
        "Whole programs", "Time, and lines of code without imports. The programs are in "
        "`benchmarks/programs/`.", ("monte_carlo",),
    ),
    "cluster": Family(
        "On a Dask cluster", "A cluster on this machine, with one process per core. The reference "
        "is sharedmem without the cluster: forked workers, or threads, on the same cores.",
        ("tasks-1000", "sum", "persisted"), stays=True,
    ),
    "cold_start": Family(
        "The first call of a new process", "Without the start of the interpreter.", ("import",)
    ),
}  # fmt: skip


def rows(family: str) -> dict[str, Row]:
    """Return the rows of a family, with the plain loop of each as a contender."""
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
    """Return the rows that match patterns such as ``pool`` or ``reductions/sum*``, by name.

    The pattern ``*`` leaves out rows that run by hand.
    """
    found = {}
    split = [(pattern.partition("/")[0], pattern.partition("/")[2] or "*") for pattern in patterns]
    for family, about in FAMILIES.items():
        mine = [
            row
            for name, row in split
            if fnmatch(family, name) and not (about.by_hand and name == "*")
        ]
        for name, row in (rows(family) if mine else {}).items():
            if any(fnmatch(name, p) for p in mine) and (about.is_quick(name) or not quick):
                found[f"{family}/{name}"] = (family, row)
    return found
