"""
Orbit of a planet, sampled with emcee
=====================================

A planet makes its star move to and fro, which the star's spectrum shows. From such velocities
`emcee <https://emcee.readthedocs.io>`_ samples the orbits that fit them. It calls ``pool.map``
twice per step, with tasks of a fraction of a millisecond: a job for workers that stay. A pool made
with ``persistent=True`` starts them once and sends them the function once, with all that it refers
to.
"""

import emcee
import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# The star
# --------
#
# The velocity of a star depends on the period of its planet, the amplitude, the eccentricity of the
# orbit, and the direction and the time of the closest approach. Where the planet is at a time
# follows from Kepler's equation, which Newton's method solves.


def velocity(t, orbit):
    """Return the velocity of the star, in m/s, at times in days."""
    period, amplitude, eccentricity, direction, start = orbit
    mean = 2 * np.pi * (t - start) / period
    angle = mean + eccentricity * np.sin(mean)
    for _ in range(8):
        error = angle - eccentricity * np.sin(angle) - mean
        angle -= error / (1 - eccentricity * np.cos(angle))
    ratio = np.sqrt((1 + eccentricity) / (1 - eccentricity))
    true = 2 * np.arctan(ratio * np.tan(angle / 2))
    return amplitude * (np.cos(true + direction) + eccentricity * np.cos(direction))


TRUE = np.array([9.2, 58.0, 0.4, 0.8, 3.0])
NOISE = 8.0  # m/s

rng = np.random.default_rng(5)
times = np.sort(rng.uniform(0, 40, 60))
measured = velocity(times, TRUE) + rng.normal(0, NOISE, times.size)

# %%
# The walkers
# -----------
#
# The function may be a closure over the data; ``multiprocessing.Pool`` would need global variables.
# The chain is that of a run without a pool, number by number.

N_WALKERS, N_STEPS = 24, 250


def log_probability(orbit):
    period, amplitude, eccentricity, _, start = orbit
    if not (0 < period < 20 and 0 < amplitude < 200 and 0 <= eccentricity < 0.9 and 0 < start < 10):
        return -np.inf
    return -0.5 * np.sum(((velocity(times, orbit) - measured) / NOISE) ** 2)


def sampled(n_steps, pool=None):
    np.random.seed(6)
    start = TRUE * (1 + 0.01 * np.random.normal(size=(N_WALKERS, TRUE.size)))
    sampler = emcee.EnsembleSampler(*start.shape, log_probability, pool=pool)
    sampler.run_mcmc(start, n_steps)
    return sampler.get_chain()


with sharedmem.MapReduce(np=2, persistent=True) as pool:
    chain = sampled(N_STEPS, pool)
assert np.array_equal(chain[:20], sampled(20))

# %%
# The orbits
# ----------
#
# The first part of the chain is left out, in which the walkers spread from where they have started.
# The width of the band is what the measurements leave open: it is narrow where many of them are.

orbits = chain[N_STEPS // 4 :].reshape(-1, TRUE.size)
days = np.linspace(0, 40, 1000)
some = orbits[:: len(orbits) // 60]

figure, axes = plt.subplot_mosaic([["curve", "curve"], ["period", "shape"]], figsize=(9, 6.5))
for orbit in some:
    axes["curve"].plot(days, velocity(days, orbit), color="#4477aa", alpha=0.1, linewidth=1)
axes["curve"].errorbar(times, measured, NOISE, fmt="k.", markersize=5, linewidth=0.8)
axes["curve"].set(xlabel="days", ylabel="velocity (m/s)", title="Measurements and sampled orbits")
axes["period"].hist(orbits[:, 0], 40, color="#4477aa")
axes["period"].axvline(TRUE[0], color="#cc3311")
axes["period"].set(xlabel="period (days)", ylabel="samples", title="Period")
axes["shape"].hist2d(orbits[:, 2], orbits[:, 1], 40, cmap="Blues")
axes["shape"].plot(TRUE[2], TRUE[1], "+", color="#cc3311", markersize=14, markeredgewidth=2)
axes["shape"].set(xlabel="eccentricity", ylabel="amplitude (m/s)", title="Shape of the orbit")
figure.tight_layout()
plt.show()

# %%
# The orbit that the measurements were made from, in red, is within the errors.

mean, error = orbits.mean(axis=0), orbits.std(axis=0)
names = ["period", "amplitude", "eccentricity", "direction", "start"]
for name, value, about, exact in zip(names, mean, error, TRUE, strict=True):
    print(f"{name:>12} {value:6.2f} ± {about:.2f}, was {exact}")
assert np.all(abs(mean - TRUE) < 4 * error)
