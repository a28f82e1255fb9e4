"""
A reduction of your own
=======================

How does the wind blow at a weather station on the coast? Its mean and its covariance matrix,
drawn as an ellipse, describe it by five numbers. A textbook formula finds them in one pass over
the data, but cancellation may leave no correct digit; ``numpy.cov`` takes two passes, and copies
the data between them. A :class:`sharedmem.Reduction` finds them in one pass, in parallel and
accurately: it consists of a numba kernel, which reduces one chunk to a state, of a function that
combines the states of two chunks, and of one that converts the last state to the result.
:func:`sharedmem.reduce` applies it to a whole array, or along an axis.
"""

import numba
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Ellipse

import sharedmem

# sphinx_gallery_thumbnail_number = 2

# %%
# Twenty years of wind
# --------------------
#
# The wind is simulated: every ten minutes, a velocity as a complex number, whose real part is the
# velocity to the east and whose imaginary part that to the north. The array has a row per day and
# a column per time of day. A breeze is added to the mean wind: it blows from the sea in the
# afternoon and from the land at night, and turns in between because the Earth rotates (B.
# Haurwitz, *Comments on the sea-breeze circulation*, 1947).

N_DAYS, N_TIMES = 20 * 365, 144
hour = np.arange(N_TIMES) / 6

u, v = sharedmem.random.normal(size=(2, N_DAYS, N_TIMES), seed=3)
turn = np.exp(2j * np.pi * (hour - 15) / 24)
spread = 1.6 + 0.7 * turn.real  # the air is less stable in the afternoon
wind = sharedmem.empty((N_DAYS, N_TIMES), dtype="c16")
wind.real = 0.8 + 2.6 * turn.real + 1.3 * spread * u  # m/s
wind.imag = 0.5 - 1.4 * turn.imag + spread * (0.7 * v - 0.6 * u)

# %%
# The three functions
# -------------------
#
# The state of a chunk is the number of its elements, their mean, and the three sums of products
# of deviations from that mean. A chunk fits into the caches of a processor, so the second loop
# over it hardly reads memory.


@numba.njit(nogil=True)
def of_chunk(wind):
    mean = 0j
    for w in wind:
        mean += w
    mean /= wind.size
    uu = uv = vv = 0.0
    for w in wind:
        u, v = w.real - mean.real, w.imag - mean.imag
        uu += u * u
        uv += u * v
        vv += v * v
    return wind.size, mean, uu, uv, vv


# %%
# Two states are combined without their elements: the distance of the two means adds to the sums
# (T. F. Chan, G. H. Golub, and R. J. LeVeque, *Algorithms for computing the sample variance:
# analysis and recommendations*, 1983). This is a Python function, as it is called once per chunk.
# The order of the calls depends on the number of chunks only, so the result has the same bits for
# any number of workers.


def combined(a, b):
    n_a, mean_a, uu_a, uv_a, vv_a = a
    n_b, mean_b, uu_b, uv_b, vv_b = b
    n, step = n_a + n_b, mean_b - mean_a
    weight = n_a * n_b / n
    return (
        n,
        mean_a + step * n_b / n,
        uu_a + uu_b + weight * step.real**2,
        uv_a + uv_b + weight * step.real * step.imag,
        vv_a + vv_b + weight * step.imag**2,
    )


def result(state):
    n, mean, uu, uv, vv = state
    n -= 1
    return np.array([mean.real, mean.imag, uu / n, uv / n, vv / n])


mean_and_covariance = sharedmem.Reduction(of_chunk, combined, finalize=result)

# %%
# All elements
# ------------

total = sharedmem.reduce(mean_and_covariance, wind)
mean_u, mean_v, uu, uv, vv = total
covariance = np.cov(wind.real.ravel(), wind.imag.ravel())
assert np.allclose([[uu, uv], [uv, vv]], covariance, rtol=1e-12)
assert np.allclose(mean_u + 1j * mean_v, wind.mean(), rtol=1e-12)
print(f"mean wind {mean_u:.3f}, {mean_v:.3f} m/s")
print(f"covariance {uu:.3f}, {uv:.3f}, {vv:.3f} m^2/s^2")

# %%
# Why not the textbook formula, the mean of the squares minus the square of the mean? It is one
# pass, too, and states are simply added. But if the mean is large compared with the deviations,
# the difference of two large numbers is left, and their rounding errors. The reduction has no
# such errors:

far = wind + 1e8
textbook = np.mean(far.real**2) - np.mean(far.real) ** 2
reduced = sharedmem.reduce(mean_and_covariance, far)[2]
print(f"variance {uu:.3f}; after adding 1e8:")
print(f"{textbook:.3f} by the textbook, {reduced:.3f} by the reduction")
assert np.isclose(reduced, uu, rtol=1e-6)

# %%
# The axes of the ellipse are the eigenvectors of the covariance matrix. Its half-axes are one or
# two standard deviations.


def ellipse(result, n_deviations, **options):
    mean_u, mean_v, uu, uv, vv = result
    squares, axes = np.linalg.eigh([[uu, uv], [uv, vv]])
    height, width = 2 * n_deviations * np.sqrt(squares)
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    center = mean_u, mean_v
    return Ellipse(center, width, height, angle=angle, fill=False, **options)


counts, u_edges, v_edges = sharedmem.histogram2d(
    wind.real.ravel(),
    wind.imag.ravel(),
    bins=120,
    range=[(-12, 14), (-10, 10)],
)
figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
shown = axes.pcolormesh(u_edges, v_edges, counts.T, cmap="Blues", norm="log")
axes.add_patch(ellipse(total, 1, color="tab:red", lw=1.5))
axes.add_patch(ellipse(total, 2, color="tab:red", lw=1.5))
axes.plot(mean_u, mean_v, "+", color="tab:red", ms=10)
axes.set(
    xlabel="wind to the east (m/s)",
    ylabel="wind to the north (m/s)",
    aspect="equal",
)
axes.set_title("All winds, their mean, and one and two standard deviations")
figure.colorbar(shown, label="number of winds")

# %%
# Along an axis
# -------------
#
# The same reduction for each time of day: the elements of a column are passed to the kernel. The
# results are an array of shape (144, 5).

by_time = sharedmem.reduce(mean_and_covariance, wind, axis=0)
for k in 0, 71:
    assert np.allclose(
        by_time[k, 2:],
        np.cov(wind[:, k].real, wind[:, k].imag).ravel()[[0, 1, 3]],
    )
assert np.allclose(by_time[:, 0] + 1j * by_time[:, 1], wind.mean(axis=0))

# %%
# The mean winds of a day go around an ellipse, and their deviations are largest in the afternoon.

figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
around = np.append(np.arange(N_TIMES), 0)
axes.plot(by_time[around, 0], by_time[around, 1], color="gray", lw=1)
u, v = by_time[:, :2].T
means = axes.scatter(u, v, c=hour, cmap="turbo", s=14, zorder=3)
for k in range(0, N_TIMES, 18):
    color = plt.get_cmap("turbo")(hour[k] / 24)
    axes.add_patch(ellipse(by_time[k], 1, color=color, lw=1.5, alpha=0.8))
    outward = by_time[k, :2] - total[:2]
    x, y = by_time[k, :2] + 0.4 * outward / np.hypot(*outward)
    axes.text(x, y, f"{hour[k]:.0f} h", ha="center", va="center")
axes.set(
    xlabel="wind to the east (m/s)",
    ylabel="wind to the north (m/s)",
    aspect="equal",
)
axes.set(
    title="Mean wind by time of day, and one standard deviation",
    xlim=(-3.7, 7),
    ylim=(-3, 4),
)
figure.colorbar(means, label="time of day (h)", ticks=range(0, 25, 3))
plt.show()
