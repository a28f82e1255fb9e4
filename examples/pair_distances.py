"""
Pair distances of particles
===========================

The pair distribution function g(r) of 100,000 particles, from all pair distances.
"""

import argparse
import sys
import time
from pathlib import Path

import numba
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

import sharedmem

N_BINS, FARTHEST, JITTER = 300, 4.0, 0.06  # in units of the cell edge

Positions = NDArray[np.float64]
Counts = NDArray[np.int64]


@numba.njit(nogil=True)
def count_pairs(x, rows, columns, edge, counts):
    """Count the pairs i < j of a chunk by distance in a periodic box."""
    per_bin = counts.size / FARTHEST
    for i in range(rows[0], rows[1]):
        for j in range(max(i + 1, columns[0]), columns[1]):
            square = 0.0
            for k in range(3):
                d = abs(x[k, i] - x[k, j])
                d = min(d, edge - d)
                square += d * d
            if square < FARTHEST * FARTHEST:
                counts[int(np.sqrt(square) * per_bin)] += 1


def crystal(n_cells: int, n: int) -> Positions:
    """Return positions of shape (3, n): a body-centered cubic lattice with vacancies and jitter."""
    rng = np.random.default_rng(2)
    corners = np.indices((n_cells,) * 3).reshape(3, -1)
    sites = np.concatenate([corners, corners + 0.5], axis=1)
    sites = sites[:, rng.permutation(sites.shape[1])[:n]]
    return (sites + JITTER * rng.normal(size=sites.shape)) % n_cells


def count_on_pool(pool: sharedmem.MapReduce, x: Positions, edge: float, size: int) -> Counts:
    n = x.shape[1]
    pairs = sharedmem.chunks((n, n), axis=(0, 1), size=size)  # of all pairs; next, those with i < j
    upper = [chunk for chunk in pairs if chunk.start[0] < chunk.stop[1]]
    total = np.zeros(N_BINS, np.int64)

    def count(chunk: sharedmem.Chunk) -> Counts:
        counts = np.zeros_like(total)
        rows, columns = zip(chunk.start, chunk.stop, strict=True)
        count_pairs(x, rows, columns, edge, counts)
        return counts

    pool.map(count, upper, reduce=lambda counts: np.add(total, counts, out=total))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="use 1,900 particles")
    parser.add_argument("--output", type=Path, default=Path("docs/pictures/pair_distances.png"))
    options = parser.parse_args()
    n_cells, n, size = (10, 1900, 256) if options.quick else (37, 100_000, 4096)
    x, edge = crystal(n_cells, n), float(n_cells)
    counts, counted_first = np.zeros((2, N_BINS), np.int64)
    count_pairs(x, (0, 1), (0, n), edge, counted_first)  # compiles, too

    start = time.perf_counter()
    count_pairs(x, (0, n), (0, n), edge, counts)
    serial = time.perf_counter() - start
    pool, start = sharedmem.MapReduce(), time.perf_counter()
    total = count_on_pool(pool, x, edge, size)
    parallel = time.perf_counter() - start
    away = np.abs(x[:, :1] - x[:, 1:])
    of_first = np.sqrt((np.minimum(away, edge - away) ** 2).sum(0))
    by_numpy = np.histogram(of_first, N_BINS, (0, FARTHEST))[0]
    if not (np.array_equal(total, counts) and np.array_equal(counted_first, by_numpy)):
        sys.exit("the counts differ")
    print(
        f"{n * (n - 1) // 2:,} pairs, {total.sum():,} of them closer than {FARTHEST}; same counts"
    )
    print(f"serial {serial:.2f} s, {pool.np} workers {parallel:.2f} s ({serial / parallel:.2f} x)")
    r = np.linspace(0, FARTHEST, N_BINS + 1)
    shells = 4 / 3 * np.pi * np.diff(r**3) * n / 2 * n / edge**3
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    axes.stairs(total / shells, r, fill=True)
    axes.set(xlabel="r / cell edge", ylabel="g(r)", xlim=(0, FARTHEST))
    axes.set_title(f"Pair distances of {n:,} particles: body-centered cubic crystal")
    figure.savefig(options.output, dpi=110)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
