"""What the benchmark page shows: questions of users, and the rows that answer each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Question(NamedTuple):
    """A table of the page.

    Attributes
    ----------
    title, text : str
        The heading, and the text above the table.
    rows : mapping
        The rows by name, each with the reason why it is shown.
    """

    title: str
    text: str
    rows: Mapping[str, str]


MOST_ROWS = 47  # of all tables together
QUESTIONS = (
    Question(
        "Is a reduction faster?",
        "Over all elements of a float64 array, or along one axis. Bottleneck's functions ignore "
        "NaN; sums of `prange` are not compensated.",
        {
            "reductions/sum-1MiB": "a small array, where the fixed cost of a call counts",
            "reductions/sum-1GiB": "as fast as memory can be read",
            "reductions/var-1GiB": "NumPy makes two passes and a temporary array",
            "reductions/nansum-128MiB": "NumPy copies the array",
            "axes/sum-columns": "the layout that NumPy reads best along an axis",
            "axes/sum-tall-long": "the layout that NumPy reads worst",
        },
    ),
    Question(
        "Are cumulative functions faster?",
        "Into an existing array.",
        {
            "scans/cumsum-1GiB": "the one with peers",
            "scans/columns": "against the order of memory",
        },
    ),
    Question(
        "Is sorting faster?",
        "128 MiB of float64: random, except where a row names other data. The default sort of "
        "NumPy is not stable.",
        {
            "orders/sort-128MiB": "the usual case",
            "orders/argsort-128MiB": "the sort that gains most",
            "orders/sort-sorted": "data for which timsort has nothing to do",
            "orders/sort-nearly-sorted": "data for which timsort has little to do",
            "orders/median-128MiB": "the usual order statistic",
        },
    ),
    Question(
        "Are expressions faster?",
        "Into an existing array; blosc2 creates a new one.",
        {
            "elementwise/exp-1GiB": "a function and arithmetic",
            "elementwise/compare": "arithmetic and a comparison",
            "elementwise/add-f4": "little arithmetic on a small array",
            "elementwise/map_chunks-128MiB": "a compiled function of the user",
        },
    ),
    Question(
        "Are histograms and selection faster?",
        "Of 128 MiB of random 8-byte numbers.",
        {
            "selection/histogram-128MiB": "bins of equal width",
            "selection/compress": "selection by a mask",
            "selection/take": "selection by indices",
        },
    ),
    Question(
        "Are random numbers faster?",
        "128 MiB, compared with NumPy's Generator on one core.",
        {
            "random_fill/normal": "the usual distribution",
            "random_fill/permutation": "the one that moves memory",
        },
    ),
    Question(
        "What does a map cost?",
        "joblib keeps its workers from call to call; the others start new ones, which see what the "
        "caller has.",
        {
            "pool/start-2": "the fixed cost of a call",
            "pool/start-shared": "the fixed cost in a large process",
            "pool/tasks-2": "the cost of a task",
            "pool/equal-2": "tasks that are worth a worker",
        },
    ),
    Question(
        "What do many small calls cost?",
        "Whole programs, with the start and the end of their workers, which stay from call to "
        "call. The reference is a pool that forks its workers at each call.",
        {
            "persistent/maps": "the fixed cost of a call",
            "persistent/emcee": "a sampler, with tasks of 0.3 ms",
        },
    ),
    Question(
        "What do sections cost?",
        "Ordered and critical sections run in one worker at a time.",
        {
            "sections/ordered-2": "turns in the order of the items",
            "sections/critical": "a lock",
        },
    ),
    Question(
        "What do large inputs and results cost?",
        "multiprocessing and concurrent.futures pickle them; joblib writes inputs to a file and "
        "maps it.",
        {
            "inputs/captured": "an array that a closure captures",
            "results/results": "arrays that tasks return",
            "results/memory-reduce": "memory when results arrive faster than they are used",
        },
    ),
    Question(
        "What does it cost to give workers an object?",
        "To workers that were started before, and that read the whole object: time, and memory of "
        "all processes above the object itself. The reference inherits it by a fork.",
        {
            "share/csr": "a few large buffers",
            "share/csr-memory": "one copy, or one per worker",
            "share/frame": "columns of numbers and strings",
            "share/ragged": "many small arrays",
            "share/records-memory": "Python objects, whose reference counts are written",
        },
    ),
    Question(
        "Are arrays in files read faster?",
        "Files of 1 GiB, in the page cache.",
        {
            "files/var": "a raw file",
            "files/zarr": "a file of chunks",
        },
    ),
    Question(
        "Are whole programs faster?",
        "The programs are in `benchmarks/programs/`; lines of code are without imports.",
        {
            "programs/word_count": "tasks that return dicts",
            "programs/file_statistics": "an array in a file",
            "programs/kmeans": "compiled loops of the user",
        },
    ),
    Question(
        "Is a cluster used well?",
        "A Dask cluster on this machine, with one process per core. The reference is the same call "
        "without the cluster.",
        {
            "cluster/tasks-1000": "small tasks",
            "cluster/sum": "an array in a file",
        },
    ),
    Question(
        "How long does the first call take?",
        "In a new process, without the start of the interpreter. Kernels are compiled before.",
        {
            "cold_start/import": "the import alone",
            "cold_start/sum": "the first kernel, which loads numba",
        },
    ),
)
# How times grow is drawn, not listed: for these families, the page has pictures.
GROWTH = (
    "growth", "How do times grow with sizes?",
    "Seconds over numbers of tasks, bytes of a result, workers, and bytes of an array to sum. A "
    "slope of 1 is linear; below 1, a fixed cost matters.",
), (
    "scaling", "How do times shrink with more workers?",
    "Array functions use threads, those of numba and numexpr at most one per core; tasks use "
    "processes. A slope of -1 is ideal up to the number of cores, and 0 beyond.",
)  # fmt: skip


def shown() -> list[str]:
    """Return the names of all rows that the page shows."""
    return [name for question in QUESTIONS for name in question.rows]


# The table of README.md.
README: dict[str, str] = {
    "reductions/sum-1GiB": "`sum`, 1 GiB",
    "reductions/var-1GiB": "`var`, 1 GiB",
    "elementwise/exp-1GiB": '`evaluate("exp(-a*a) + b*0.5")`, 1 GiB',
    "selection/histogram-128MiB": "`histogram`, 100 bins, 128 MiB",
    "scans/cumsum-1GiB": "`cumsum`, 1 GiB",
    "orders/sort-128MiB": "`sort`, 128 MiB",
    "random_fill/normal": "`random.normal`, 128 MiB",
}
