"""
Heat equation on a plate
========================

Hot spots on an aluminum plate cool down while its edges are kept at 20 °C. The heat equation on a
grid of points is a stencil: the next temperature of a point depends on those of its neighbors.
:func:`sharedmem.map_overlap` cuts the grid into chunks, calls a numba function on each chunk with
the rows and columns around it, and supplies the values beyond the edges. We compare the numbers
with an exact solution and draw the plate as it cools.
"""

from itertools import pairwise

import numba
import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# The stencil
# -----------
#
# The kernel gets a chunk of the temperatures that is longer by one point in each direction, and a
# chunk of the results without these points: ``t[i + 1, j + 1]`` belongs to ``t_next[i, j]``.
# ``nogil=True`` lets threads run it at the same time.


@numba.njit(nogil=True)
def advance(t, t_next, number):
    for i in range(t_next.shape[0]):
        for j in range(t_next.shape[1]):
            here = t[i + 1, j + 1]
            around = t[i, j + 1] + t[i + 2, j + 1] + t[i + 1, j] + t[i + 1, j + 2]
            t_next[i, j] = here + number * (around - 4 * here)


# %%
# A step is stable if ``number``, the diffusivity times the time step over the squared grid spacing,
# is at most 1/4. The array holds the points inside of the plate, and ``boundary`` is the
# temperature of the edges. Two arrays take turns as input and output. By default, chunks have about
# 4 MiB; here each core gets one.

SIDE, SPACING = 0.5, 0.001  # m
N = round(SIDE / SPACING) - 1  # points between the edges, along each side
DIFFUSIVITY = 9.7e-5  # of aluminum, m²/s
NUMBER = 0.2
TIME_STEP = NUMBER * SPACING**2 / DIFFUSIVITY


def cool(t, seconds, edges):
    """Return the temperatures after some time."""
    t, t_next = sharedmem.copy(t), sharedmem.empty_like(t)
    grid = sharedmem.chunks(t, n=sharedmem.cpu_count())
    for _ in range(round(seconds / TIME_STEP)):
        sharedmem.map_overlap(
            advance,
            t,
            t_next,
            depth=1,
            boundary=edges,
            args=(NUMBER,),
            chunks=grid,
        )
        t, t_next = t_next, t
    return t


# %%
# Compare with an exact solution
# ------------------------------
#
# A temperature of the form of half a sine wave in both directions keeps its form, and decays by
# exp(-2 π² κ t / L²), where κ is the diffusivity and L the side of the plate.

wave = np.sin(np.pi * np.arange(1, N + 1) / (N + 1))
half_waves = 100 * np.outer(wave, wave)
seconds = 250 * TIME_STEP
exact = half_waves * np.exp(-2 * np.pi**2 * DIFFUSIVITY * seconds / SIDE**2)
cooled = cool(half_waves, seconds, edges=0.0)
error = np.abs(cooled - exact).max()
print(f"after {seconds:.3f} s: {cooled.max():.6f} K, exact {exact.max():.6f} K")
assert error < 1e-5

# %%
# Cool a plate with hot spots
# ---------------------------
#
# A ring and three disks start between 60 and 100 °C. The colors of all pictures are the same, and
# the lines join points of equal temperature.

position = 100 * SPACING * np.arange(1, N + 1)  # cm
x, y = np.meshgrid(position, position)
plate = sharedmem.full((N, N), 20.0)
plate[np.abs(np.hypot(x - 20, y - 28) - 13) < 1.5] = 80
disks = [(20, 28, 3, 100), (40, 10, 4, 100), (40, 40, 3, 60)]
for x_disk, y_disk, radius, hot in disks:
    plate[np.hypot(x - x_disk, y - y_disk) < radius] = hot

times = [0, 0.2, 0.8, 2]
series = [plate]
for earlier, later in pairwise(times):
    series.append(cool(series[-1], later - earlier, edges=20.0))

figure, panels = plt.subplots(2, 2, figsize=(8, 7), layout="constrained")
for panel, seconds, temperature in zip(panels.flat, times, series, strict=True):
    image = panel.imshow(
        temperature,
        extent=(0, 50, 0, 50),
        origin="lower",
        cmap="inferno",
        vmin=20,
        vmax=100,
    )
    if seconds:
        levels = [25, 40, 55, 70]
        panel.contour(x, y, temperature, levels, colors="white", linewidths=0.6)
    panel.set(title=f"{seconds:g} s", xlabel="x (cm)", ylabel="y (cm)")
figure.colorbar(image, ax=panels, label="temperature (°C)", shrink=0.7)
plt.show()

# %%
# No point can become colder than the edges, and the hottest point can only become colder.
# :func:`sharedmem.minmax` reads the array once, in parallel.

hottest_before = 100.0
for seconds, temperature in zip(times, series, strict=True):
    coldest, hottest = sharedmem.minmax(temperature)
    print(f"{seconds:3} s: {coldest:.2f} to {hottest:.2f} °C")
    assert 20 - 1e-9 <= coldest < hottest <= hottest_before + 1e-9
    hottest_before = hottest
