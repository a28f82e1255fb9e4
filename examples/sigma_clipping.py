"""
Sigma clipping of exposures
===========================

A telescope takes many short exposures of one field. Their mean has less noise than each of them,
but cosmic rays, which hit the detector at random places, and satellites, which cross the field,
remain in it. Sigma clipping rejects them: at each pixel, exposures that are far from the others
do not count. NumPy needs several passes over the whole stack for this, and a mask of the same
size. Here a kernel takes the values of one pixel at a time, and :func:`sharedmem.map_chunks`
calls it on chunks of a shared array, in parallel.
"""

import numba
import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# A simulated series of exposures
# -------------------------------
#
# The field has 400 stars. A star is drawn as a Moffat profile, the shape that turbulence of the
# air gives to it (A. F. J. Moffat, *A theoretical investigation of focal stellar images in the
# photographic emulsion*, 1969). Brightnesses are in electrons, as counted by the detector.

N_EXPOSURES, SIDE = 24, 512  # side of an exposure, in pixels
SKY, READ_NOISE = 200.0, 6.0  # electrons per pixel
rng = np.random.default_rng(1)

truth = np.full((SIDE, SIDE), SKY)
pixels = np.arange(SIDE)
places, fluxes = rng.uniform(0, SIDE, (400, 2)), 600 * rng.pareto(0.9, 400)
for (x, y), flux in zip(places, np.minimum(fluxes, 3e5), strict=True):
    near_x, near_y = (slice(max(0, int(at) - 40), int(at) + 40) for at in (x, y))
    square = (pixels[near_y, None] - y) ** 2 + (pixels[near_x] - x) ** 2
    profile = 1.5 / np.pi / 2.2**2 * (1 + square / 2.2**2) ** -2.5
    truth[near_y, near_x] += flux * profile

# %%
# Photons arrive at random: with hundreds of electrons per pixel, their number is nearly normal,
# with a variance equal to its mean. The amplifier adds noise of its own.
# :func:`sharedmem.random.normal` fills the shared stack in parallel, and the samples do not
# depend on the number of workers.

shape = N_EXPOSURES, SIDE, SIDE
stack = sharedmem.random.normal(size=shape, dtype="f4", seed=2)
noise = np.sqrt(truth + READ_NOISE**2)
sharedmem.evaluate("sky + noise * x", sky=truth, noise=noise, x=stack, out=stack)

# %%
# Each exposure gets 300 cosmic rays, short bright tracks, and every fourth one the trail of a
# satellite.

for k, exposure in enumerate(stack):
    start, angle = rng.uniform(0, SIDE, (2, 300)), rng.uniform(0, 6.28, 300)
    length, charge = rng.exponential(6, 300), rng.exponential(1500, 300)
    for step in np.linspace(0, 1, 20):
        x = (start[0] + step * length * np.cos(angle)).astype(int) % SIDE
        y = (start[1] + step * length * np.sin(angle)).astype(int) % SIDE
        exposure[y, x] = np.maximum(exposure[y, x], SKY + charge)
    if k % 4 == 0:
        slope, middle = rng.uniform(-1, 1), rng.uniform(0.3, 0.7) * SIDE
        distance = pixels[:, None] - middle - slope * (pixels - SIDE / 2)
        exposure += 800 * np.exp(-(distance**2) / (3 * (1 + slope**2)))

# %%
# The kernel
# ----------
#
# The center of the values of a pixel is their median, and their deviation is 1.4826 times the
# median distance from it, which is the standard deviation if the noise is normal (F. R. Hampel,
# *The influence curve and its role in robust estimation*, 1974). Both change little if some
# values are far off. Values that are farther from the center than a number of deviations are
# rejected. This is repeated until no more are rejected. The kernel also writes how many were
# rejected.


@numba.njit(nogil=True)
def median(values, n):
    for k in range(1, n):  # an insertion sort, which is fast for few values
        value = values[k]
        while k > 0 and values[k - 1] > value:
            values[k] = values[k - 1]
            k -= 1
        values[k] = value
    return (values[(n - 1) // 2] + values[n // 2]) / 2


@numba.njit(nogil=True)
def clip_and_average(exposures, image, rejected, limit):
    n_exposures, n_rows, n_columns = exposures.shape
    values, distances = np.empty(n_exposures), np.empty(n_exposures)
    for i in range(n_rows):
        for j in range(n_columns):
            for k in range(n_exposures):
                values[k] = exposures[k, i, j]
            n, n_before = n_exposures, 0
            while n != n_before:
                center = median(values, n)
                for k in range(n):
                    distances[k] = abs(values[k] - center)
                largest = limit * 1.4826 * median(distances, n)
                n_before, n, total = n, 0, 0.0
                for k in range(n_before):
                    if abs(values[k] - center) <= largest:
                        values[n] = values[k]
                        total += values[k]
                        n += 1
            image[i, j] = total / n
            rejected[i, j] = n_exposures - n


# %%
# The stack is cut into chunks along its rows, axis 1, and the results along axis 0: ``axis`` has
# an entry for the stack and one for each result. Each chunk holds all exposures of some rows.

clipped = sharedmem.empty((SIDE, SIDE))
rejected = sharedmem.empty((SIDE, SIDE), dtype="i4")
limit = 4.0  # deviations
sharedmem.map_chunks(
    clip_and_average,
    stack,
    out=(clipped, rejected),
    args=(limit,),
    axis=(1, 0, 0),
)
mean = sharedmem.mean(stack, axis=0)

# %%
# The same steps in NumPy, for some rows, with NaN in place of rejected values:

values = stack[:, :32].astype("f8")
while True:
    center = np.nanmedian(values, axis=0)
    distance = abs(values - center)
    far = distance > limit * 1.4826 * np.nanmedian(distance, axis=0)
    if not far.any():
        break
    values[far] = np.nan
assert np.allclose(np.nanmean(values, axis=0), clipped[:32], rtol=1e-12)
assert np.array_equal(np.isnan(values).sum(axis=0), rejected[:32])

# %%
# Pictures
# --------
#
# All three have the same scale. The single exposure shows about as many cosmic rays as stars. The
# plain mean shows the cosmic rays of all exposures.

options = {"cmap": "gray", "origin": "lower", "vmin": 160, "vmax": 450}
figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
titles = "One exposure", "Plain mean", "Sigma-clipped mean"
images = stack[4], mean, clipped
for axes, image, title in zip(panels, images, titles, strict=True):
    shown = axes.imshow(image, **options)
    axes.set(title=title, xlabel="x (pixels)")
panels[0].set_ylabel("y (pixels)")
bar = figure.colorbar(shown, ax=panels, extend="both", shrink=0.83)
bar.set_label("electrons per pixel")

# %%
# The image of rejected values shows what was removed. Bright stars are not in it: their noise is
# greater, and so is the deviation of their values.

figure, axes = plt.subplots(figsize=(6.4, 5.2), layout="constrained")
shown = axes.imshow(rejected, cmap="magma", origin="lower", vmax=4)
axes.set(title="Rejected exposures", xlabel="x (pixels)", ylabel="y (pixels)")
figure.colorbar(shown, label="number per pixel", extend="max")
plt.show()

# %%
# The truth is known here, so the errors are, too. A mean of *n* values has the noise of one,
# divided by the square root of *n*. The clipped mean comes close to that.

for name, image in (
    ("one exposure", stack[1]),
    ("plain mean", mean),
    ("clipped mean", clipped),
):
    print(f"{name:13} error / noise: {np.std((image - truth) / noise):6.3f}")
print(f"{'ideal mean':13} error / noise: {N_EXPOSURES**-0.5:6.3f}")
assert np.std((clipped - truth) / noise) < 1.1 * N_EXPOSURES**-0.5
