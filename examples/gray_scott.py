"""
Reaction and diffusion
======================

In the Gray-Scott model, two substances diffuse and react: u + 2 v gives 3 v, u is fed, and v is
removed. From a few spots, v grows into patterns like those of corals. Each step is a stencil over
two arrays that gives two arrays, on a periodic grid: :func:`sharedmem.map_overlap` takes tuples of
arrays, and wraps around the edges. We run it with a pool and serially, and compare the result with
a loop that uses only NumPy and numba.
"""

from itertools import pairwise

import numba
import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# The kernel
# ----------
#
# The chunks of ``u`` and ``v`` have a margin of one point on each side, so ``u[i + 1, j + 1]``
# belongs to ``u_next[i, j]``. The unit of length is the grid spacing, that of time is the step.

FEED, KILL = 0.0545, 0.062
DIFFUSION = (1.0, 0.5)  # of u and v


@numba.njit(nogil=True)
def laplace(x, i, j):
    near = x[i - 1, j] + x[i, j - 1] + x[i, j + 1] + x[i + 1, j]
    far = x[i - 1, j - 1] + x[i - 1, j + 1] + x[i + 1, j - 1] + x[i + 1, j + 1]
    return 0.2 * near + 0.05 * far - x[i, j]


@numba.njit(nogil=True)
def advance(u, v, u_next, v_next):
    for i in range(u_next.shape[0]):
        for j in range(u_next.shape[1]):
            here_u, here_v = u[i + 1, j + 1], v[i + 1, j + 1]
            reaction = here_u * here_v * here_v
            change_u = DIFFUSION[0] * laplace(u, i + 1, j + 1) - reaction
            change_v = DIFFUSION[1] * laplace(v, i + 1, j + 1) + reaction
            u_next[i, j] = here_u + change_u + FEED * (1 - here_u)
            v_next[i, j] = here_v + change_v - (FEED + KILL) * here_v


# %%
# The steps
# ---------
#
# At first, u = 1 and v = 0 except in some squares. Two pairs of arrays take turns as input and
# output. Each core gets one chunk of rows.

N = 384


def start():
    u, v = sharedmem.ones((N, N)), sharedmem.zeros((N, N))
    for i, j in np.random.default_rng(3).integers(0, N - 12, (120, 2)):
        u[i : i + 12, j : j + 12], v[i : i + 12, j : j + 12] = 0.5, 0.25
    return u, v


def run(state, n_steps, pool):
    state, state_next = (
        tuple(map(sharedmem.copy, state)),
        tuple(map(sharedmem.empty_like, state)),
    )
    grid = sharedmem.chunks(state[0], n=sharedmem.cpu_count())
    for _ in range(n_steps):
        pool.map_overlap(
            advance,
            state,
            state_next,
            depth=1,
            boundary="periodic",
            chunks=grid,
        )
        state, state_next = state_next, state
    return state


pool = sharedmem.MapReduce()
times = [0, 200, 600, 1600]
series = [start()]
for earlier, later in pairwise(times):
    series.append(run(series[-1], later - earlier, pool))

figure, panels = plt.subplots(2, 2, figsize=(8, 7), layout="constrained")
for panel, n_steps, (_, v) in zip(panels.flat, times, series, strict=True):
    image = panel.imshow(v, cmap="magma", origin="lower", vmin=0, vmax=0.4)
    panel.set(title=f"{n_steps:,} steps", xticks=[], yticks=[])
figure.colorbar(image, ax=panels, label="concentration of v", shrink=0.7)
plt.show()

# %%
# Comparisons
# -----------
#
# A serial pool, and arrays that NumPy pads before each call of the kernel, give the same bits.

serial = run(start(), 200, sharedmem.MapReduce(np=0))
u, v = start()
u_next, v_next = np.empty_like(u), np.empty_like(v)
for _ in range(200):
    padded = np.pad(u, 1, mode="wrap"), np.pad(v, 1, mode="wrap")
    advance(*padded, u_next, v_next)
    u, v, u_next, v_next = u_next, v_next, u, v

assert np.array_equal(series[1], serial)
assert np.array_equal(series[1], [u, v])
