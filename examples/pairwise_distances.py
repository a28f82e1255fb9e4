"""
Pairwise distances in a file
============================

The distances of all pairs of a few thousand points fill a large matrix: it is the matrix that
outgrows the memory, not the points. Here it is written to a zarr array chunk by chunk by
:func:`sharedmem.map_chunks`, so that memory holds a chunk per thread and the points. Then
:func:`sharedmem.histogram` and :func:`sharedmem.minmax` read it back in the same way. The points
are states of the Lorenz system, and their distances show when the system returns to an earlier
state, and what dimension its attractor has.
"""

import tempfile
from pathlib import Path

import numba
import numpy as np
import zarr
from matplotlib import pyplot as plt

import sharedmem

# %%
# Points of a trajectory
# ----------------------
#
# The Lorenz system describes convection in air by three numbers (E. N. Lorenz, *Deterministic
# nonperiodic flow*, 1963). Runge-Kutta steps of fourth order follow it, and every fifth state is
# kept.

N_POINTS, STEP, STEPS_PER_POINT = 4000, 0.01, 5


def velocity(at):
    x, y, z = at
    return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


at, path = np.array([1.0, 1.0, 20.0]), []
for _ in range(500 + N_POINTS * STEPS_PER_POINT):
    v1 = velocity(at)
    v2 = velocity(at + STEP / 2 * v1)
    v3 = velocity(at + STEP / 2 * v2)
    v4 = velocity(at + STEP * v3)
    at = at + STEP / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
    path.append(at)
states = np.array(path[500:])  # the first ones are not yet on the attractor
points = states[::STEPS_PER_POINT]
time = np.arange(N_POINTS) * STEP * STEPS_PER_POINT

# %%
# The matrix, chunk by chunk
# --------------------------
#
# The zarr array is on disk, in stored chunks of 250 rows. They are not compressed, since the last
# digits of distances are like random ones.

folder = tempfile.TemporaryDirectory()
distances = zarr.create_array(
    Path(folder.name, "distances.zarr"),
    shape=(N_POINTS, N_POINTS),
    chunks=(250, N_POINTS),
    dtype="f4",
    compressors=None,
)


@numba.njit(nogil=True)
def distances_to_all(some, distances, points):
    for i in range(len(some)):
        for j in range(len(points)):
            square = 0.0
            for d in range(3):
                square += (some[i, d] - points[j, d]) ** 2
            distances[i, j] = np.sqrt(square)


# %%
# The points and the matrix are cut together along their first axes, between stored chunks. Each
# thread computes the rows of a chunk in memory, writes them to the file, and goes on with the
# next chunk. All points are passed to each call by ``args``.

sharedmem.map_chunks(distances_to_all, points, out=distances, args=(points,))
print(f"{N_POINTS} x {N_POINTS} distances, {distances.nbytes / 1e6:.0f} MB")

some = slice(1000, 1100)
by_numpy = np.linalg.norm(points[some, None] - points, axis=2)
assert np.allclose(distances[some], by_numpy, rtol=1e-6)

# %%
# Recurrence
# ----------
#
# A part of the matrix is read as one reads an array. It shows when the state returns to where it
# was (J.-P. Eckmann, S. O. Kamphorst, and D. Ruelle, *Recurrence plots of dynamical systems*,
# 1987): dark lines parallel to the diagonal mean that the system repeats, for a while, what it
# did before.

n = 600
begin = states[: n * STEPS_PER_POINT]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="tight")
left.plot(states[:, 0], states[:, 2], color="lightgray", lw=0.3)
left.scatter(begin[:, 0], begin[:, 2], c=np.arange(len(begin)), s=3)
left.set(
    xlabel="x",
    ylabel="z",
    title=f"The trajectory, until time {time[n]:.0f} in color",
)
shown = right.imshow(
    distances[:n, :n],
    origin="lower",
    extent=(0, time[n], 0, time[n]),
    cmap="magma",
)
right.set(xlabel="time", ylabel="time", title=f"Distances of {n} points")
figure.colorbar(shown, label="distance")

# %%
# Dimension
# ---------
#
# How many pairs are closer than *r*? If the points filled a surface, the number would grow like
# the square of *r*, and in a volume like its cube. The exponent is the correlation dimension (P.
# Grassberger and I. Procaccia, *Measuring the strangeness of strange attractors*, 1983), which is
# about 2.05 for the Lorenz attractor. The histogram is computed from the file, chunk by chunk.

smallest, largest = sharedmem.minmax(distances)
edges = np.concatenate([[0], np.geomspace(0.5, largest, 41)])
counts = sharedmem.histogram(distances, bins=edges)[0]
counts[0] -= N_POINTS  # the distance of each point from itself
r, share = edges[1:], counts.cumsum() / (N_POINTS * (N_POINTS - 1))
assert smallest == 0
assert np.isclose(share[-1], 1)

fitted = (r > 1) & (r < 6)
dimension, offset = np.polyfit(np.log(r[fitted]), np.log(share[fitted]), 1)
print(f"correlation dimension: {dimension:.2f}")
assert abs(dimension - 2.05) < 0.1

figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
axes.loglog(r, share, "o", ms=4, label="pairs of states")
axes.loglog(
    r,
    np.exp(offset) * r**dimension,
    label=f"slope {dimension:.2f}, fitted for 1 < r < 6",
)
axes.set(
    xlabel="distance r",
    ylabel="share of pairs closer than r",
    ylim=(share[0] / 2, 2),
)
axes.legend()
plt.show()
folder.cleanup()
