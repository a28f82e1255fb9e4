"""Print how long sorts and searches of ordered data take beside NumPy's, as ratios.

``python benchmarks/tables/ordered_data.py [FUNCTION...] [--dtypes DTYPE...] [--mib SIZE]`` prints
wall time and processor time of each function over NumPy's, of which sorts are the stable ones:
medians of contenders in turns. Ratios below 1 are faster than NumPy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import sharedmem

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = [
    *("int16", "int32", "int64", "uint16", "uint32", "uint64", "float32", "float64"),
    *("complex128", "datetime64[s]"),
]
ROUNDS = 7
# The table of a search.
TABLE = 1 << 20


class Row(NamedTuple):
    """A call of this package, and one of NumPy."""

    ours: Callable[[Any], Any]
    numpy: Callable[[Any], Any]


def _topk(a: Array) -> Array:
    order = np.argpartition(a, len(a) - 100)[-100:]
    return order[np.argsort(-a[order], kind="stable")]


def _search(module: Any) -> Callable[[Array], Array]:
    def search(a: Array) -> Array:
        found: Array = module.searchsorted(np.linspace(0, len(a), TABLE).astype(a.dtype), a)
        return found

    return search


ROWS = {
    "sort": Row(sharedmem.sort, lambda a: np.sort(a, kind="stable")),
    "argsort": Row(sharedmem.argsort, lambda a: np.argsort(a, kind="stable")),
    "unique": Row(sharedmem.unique, np.unique),
    "unique, inverse": Row(
        lambda a: sharedmem.unique(a, return_inverse=True),
        lambda a: np.unique(a, return_inverse=True),
    ),
    "searchsorted": Row(_search(sharedmem), _search(np)),
    "median": Row(sharedmem.median, np.median),
    "quantile": Row(
        lambda a: sharedmem.quantile(a, [0.1, 0.9]), lambda a: np.quantile(a, [0.1, 0.9])
    ),
    "topk": Row(lambda a: sharedmem.topk(a, 100), _topk),
}  # fmt: skip


def swapped(n: int, n_pairs: int, distance: int) -> Array:
    """Return ranks of which random pairs are swapped, whose places are at most so far apart."""
    rng, ranks = np.random.default_rng(1), np.arange(n)
    for place in rng.integers(0, n, n_pairs):
        other = int(place + rng.integers(-distance, distance + 1)) % n
        ranks[place], ranks[other] = ranks[other], ranks[place]
    return ranks


def permuted(n: int) -> Array:
    return np.random.default_rng(0).permutation(n)


def organ_pipe(n: int) -> Array:
    ranks = np.arange(n)
    return 2 * np.minimum(ranks, ranks[::-1]) + (ranks > n // 2)


# Lines of ranks from 0 to n - 1.
DATA: dict[str, Callable[[int], Array]] = {
    "sorted": np.arange,
    "reversed": lambda n: np.arange(n)[::-1],
    "constant": lambda n: np.full(n, n // 2),
    "8 runs": lambda n: np.concatenate([np.sort(run) for run in np.split(permuted(n), 8)]),
    "organ pipe": organ_pipe,
    "organ pipe with ties": lambda n: organ_pipe(n) // 64 * 64,
    "0.1 % swapped": lambda n: swapped(n, n // 2000, n),
    "1 % moved locally": lambda n: swapped(n, n // 200, 8),
    "1 % random tail": lambda n: np.append(np.arange(n - n // 100), permuted(n)[: n // 100]),
    "random": permuted,
}


def as_dtype(ranks: Array, dtype: np.dtype[Any]) -> Array:
    """Return numbers in the order of ranks; those of few bits are equal where ranks are close."""
    if dtype.kind in "iu" and dtype.itemsize == 2:
        ranks = ranks // (len(ranks) >> 15)
    numbers = ranks.astype(dtype)
    return numbers + numbers * 1j if dtype.kind == "c" else numbers


def timed(row: Row, a: Array) -> tuple[float, float]:
    """Return wall time and processor time over NumPy's."""
    walls: list[list[float]] = [[], []]
    processor: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for at, call in enumerate(row):
            wall, used = time.perf_counter(), time.process_time()
            call(a)
            walls[at].append(time.perf_counter() - wall)
            processor[at].append(time.process_time() - used)
    first, second = ([statistics.median(one) for one in pair] for pair in (walls, processor))
    return first[0] / first[1], second[0] / second[1]


def main() -> None:
    """Time all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=", ".join(ROWS))
    parser.add_argument("--dtypes", nargs="+", default=DTYPES)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--mib", type=int, default=32, help="of each array")
    options = parser.parse_args()
    print(f"| function | data | {' | '.join(options.dtypes)} |")
    print("| --- " * (len(options.dtypes) + 2) + "|")
    for name in options.functions or ROWS:
        for data in options.data:
            cells = []
            for dtype in map(np.dtype, options.dtypes):
                ranks = DATA[data]((options.mib << 20) // dtype.itemsize)
                if dtype.kind in "cmM" and name in ("median", "quantile", "topk"):
                    cells.append("")
                    continue
                cells.append("{:.2f} / {:.2f}".format(*timed(ROWS[name], as_dtype(ranks, dtype))))
            print(f"| {name} | {data} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
