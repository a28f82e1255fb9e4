"""
Pair distribution of particles
==============================

The pair distribution function g(r) says how many particles are at a distance r from another one,
compared with particles that are spread evenly: crystals have peaks, and gases are flat. It is a
histogram of the distances of all pairs, here 450 million. :func:`sharedmem.chunks` cuts the matrix
of all pairs into squares, tasks of :meth:`sharedmem.MapReduce.map` run a numba function on those
above the diagonal, and ``reduce`` adds up their counts.
"""

import numba
import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# A crystal
# ---------
#
# The particles are on a body-centered cubic lattice, with some empty sites and some jitter, in a
# box that is periodic in all directions. The unit of length is the edge of a cell.

EDGE, N_PARTICLES, JITTER = 25, 30_000, 0.03

rng = np.random.default_rng(2)
corners = np.indices((EDGE,) * 3).reshape(3, -1)
lattice = np.concatenate([corners, corners + 0.5], axis=1)
sites = lattice[:, rng.permutation(lattice.shape[1])[:N_PARTICLES]]
x = (sites + JITTER * rng.normal(size=sites.shape)) % EDGE

# %%
# Count pairs
# -----------
#
# The kernel counts the pairs i < j of some rows and columns of the matrix, by their distance to the
# nearest image in the periodic box.

N_BINS, FARTHEST = 300, 4.0


@numba.njit(nogil=True)
def count_pairs(x, rows, columns, counts):
    for i in range(rows[0], rows[1]):
        for j in range(max(i + 1, columns[0]), columns[1]):
            square = 0.0
            for k in range(3):
                d = abs(x[k, i] - x[k, j])
                d = min(d, EDGE - d)
                square += d * d
            if square < FARTHEST * FARTHEST:
                counts[int(np.sqrt(square) * (N_BINS / FARTHEST))] += 1


# %%
# ``start`` and ``stop`` of a chunk are tuples, since the matrix is cut along both axes. The matrix
# itself is never stored: its shape is enough to make the chunks. Workers inherit the positions,
# and the kernel is compiled before the workers are forked, so that they do not compile it each.

total, first, alone = np.zeros((3, N_BINS), np.int64)
count_pairs(x, (0, 1), (0, N_PARTICLES), first)

pairs = sharedmem.chunks((N_PARTICLES, N_PARTICLES), axis=(0, 1), size=2048)
upper = [chunk for chunk in pairs if chunk.start[0] < chunk.stop[1]]

with sharedmem.MapReduce() as pool:

    def count(chunk):
        counts = np.zeros_like(total)
        rows, columns = zip(chunk.start, chunk.stop, strict=True)
        count_pairs(x, rows, columns, counts)
        return counts

    pool.map(count, upper, reduce=lambda counts: np.add(total, counts, out=total))

n_pairs = N_PARTICLES * (N_PARTICLES - 1) // 2
print(f"{total.sum():,} of {n_pairs:,} pairs are closer than 4 cells")

# %%
# One call of the kernel for all pairs gives the same counts. For the pairs of the first particle,
# NumPy gives the same as the kernel.

count_pairs(x, (0, N_PARTICLES), (0, N_PARTICLES), alone)
assert np.array_equal(total, alone)

away = np.abs(x[:, :1] - x[:, 1:])
distances = np.sqrt((np.minimum(away, EDGE - away) ** 2).sum(axis=0))
assert np.array_equal(first, np.histogram(distances, N_BINS, (0, FARTHEST))[0])

# %%
# The peaks
# ---------
#
# g(r) is the number of pairs divided by the number that evenly spread particles would have. Dotted
# lines are the distances in a perfect lattice; the jitter gives the peaks their width.

r = np.linspace(0, FARTHEST, N_BINS + 1)
shells = 4 / 3 * np.pi * np.diff(r**3)
g = total / (shells * N_PARTICLES**2 / 2 / EDGE**3)
perfect = np.unique(np.linalg.norm(lattice, axis=0).round(6))[1:]  # without 0
perfect = perfect[perfect < FARTHEST]

figure, panel = plt.subplots(figsize=(9, 4), layout="constrained")
panel.stairs(g, r, fill=True, color="#4477aa")
panel.vlines(perfect, 0, 1.05 * g.max(), colors="0.4", linestyles=":")
panel.axhline(1, color="0.5", linewidth=0.8)
panel.set(
    xlabel="r (edges of a cell)",
    ylabel="g(r)",
    xlim=(0, FARTHEST),
    ylim=(0, 1.05 * g.max()),
)
panel.set_title(f"{N_PARTICLES:,} particles of a body-centered cubic crystal")
plt.show()
