"""
Monte Carlo with reproducible numbers
=====================================

The price of an Asian option, which pays by the average price of a stock, has no closed form and is
estimated from random paths of the stock. Each task of :meth:`sharedmem.MapReduce.map` simulates a
batch of paths with ``pool.rng``, a random generator of its own. Its numbers depend on the seed of
the pool and on the number of the task, and not on the workers: the estimate has the same bits with
1, 2, or 3 workers. The picture shows how the estimate converges.
"""

import math

import numpy as np
from matplotlib import pyplot as plt

import sharedmem

# %%
# The option
# ----------
#
# The stock follows a geometric Brownian motion. At the end of a year, the option pays the mean of
# its prices at the end of each week, less the strike, if that is positive.

PRICE, STRIKE = 100.0, 105.0  # EUR
RATE, VOLATILITY, YEARS = 0.03, 0.25, 1.0
N_WEEKS = 52
DISCOUNT = math.exp(-RATE * YEARS)


def pay(n_paths, rng):
    """Return what options on the arithmetic and the geometric mean pay."""
    step = YEARS / N_WEEKS
    log_price = rng.standard_normal((n_paths, N_WEEKS))
    log_price *= VOLATILITY * math.sqrt(step)
    log_price += (RATE - VOLATILITY**2 / 2) * step
    np.cumsum(log_price, axis=1, out=log_price)
    geometric = PRICE * np.exp(log_price.mean(axis=1))
    arithmetic = PRICE * np.exp(log_price, out=log_price).mean(axis=1)
    return DISCOUNT * np.maximum([arithmetic - STRIKE, geometric - STRIKE], 0)


# %%
# The option on the geometric mean has a known price, since the geometric mean of the prices is
# lognormal. Its payments are close to those of the other option, so that most of the noise cancels
# in the difference. This is called a control variate.

mean_time = YEARS * (N_WEEKS + 1) / (2 * N_WEEKS)
mean = math.log(PRICE) + (RATE - VOLATILITY**2 / 2) * mean_time
std = VOLATILITY * math.sqrt(mean_time * (2 * N_WEEKS + 1) / (3 * N_WEEKS))


def normal_cdf(z):
    return math.erfc(-z / math.sqrt(2)) / 2


z = (mean - math.log(STRIKE)) / std
forward = math.exp(mean + std**2 / 2)
known = DISCOUNT * (forward * normal_cdf(z + std) - STRIKE * normal_cdf(z))

# %%
# Simulate with 1, 2, and 3 workers
# ---------------------------------
#
# A task returns the sums of a batch: of the plain payments, of the payments with the control
# variate, and of their squares. The list of results is in the order of the tasks.

N_BATCHES, N_PATHS = 128, 2048


def simulate(n_workers):
    """Return the sums of each batch, of shape (N_BATCHES, 2, 2)."""
    with sharedmem.MapReduce(np=n_workers, seed=2026) as pool:

        def batch(_):
            arithmetic, geometric = pay(N_PATHS, pool.rng)
            values = np.array([arithmetic, arithmetic - geometric + known])
            return [values.sum(axis=1), (values**2).sum(axis=1)]

        return np.array(pool.map(batch, range(N_BATCHES)))


runs = {n: simulate(n) for n in (1, 2, 3)}
for n_workers, sums in runs.items():
    price = sums[:, 0, 1].sum() / (N_BATCHES * N_PATHS)
    print(f"np={n_workers}: {price:.15f} EUR")
assert np.array_equal(runs[1], runs[2])
assert np.array_equal(runs[1], runs[3])

# %%
# Convergence
# -----------
#
# The error bars are two standard errors of the mean, which fall with the square root of the number
# of paths. The control variate makes them smaller by a factor of 16, which would otherwise
# take 256 times as many paths.

n_paths = N_PATHS * np.arange(1, N_BATCHES + 1)[:, np.newaxis]
total, squares = np.cumsum(runs[2], axis=0).swapaxes(0, 1)
estimate = total / n_paths
error = np.sqrt((squares / n_paths - estimate**2) / n_paths)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
shown = np.unique(np.geomspace(1, N_BATCHES, 16).astype(int)) - 1
curves = [("plain", "#4477aa"), ("with control variate", "#cc3311")]
for column, (label, color) in enumerate(curves):
    left.errorbar(
        n_paths[shown, 0] * (1.0, 1.05)[column],  # side by side
        estimate[shown, column],
        yerr=2 * error[shown, column],
        fmt="o",
        markersize=4,
        capsize=2.5,
        color=color,
        label=label,
    )
    right.loglog(n_paths, error[:, column], color=color, label=label)
right.loglog(
    n_paths,
    error[0, 0] * np.sqrt(n_paths[0] / n_paths),
    "k:",
    label=r"$1/\sqrt{\mathrm{paths}}$",
)
left.axhline(estimate[-1, 1], color="0.6", linewidth=0.8, zorder=0)
left.set(
    xscale="log",
    xlabel="paths",
    ylabel="price of the option (EUR)",
    title="Estimate",
)
right.set(xlabel="paths", ylabel="standard error (EUR)", title="Error")
left.legend()
right.legend()
plt.show()

# %%
# The two estimates agree within their errors. The price is higher than the known one of the option
# on the geometric mean, which is never larger than the arithmetic mean.

(plain, controlled), (plain_error, controlled_error) = estimate[-1], error[-1]
print(f"plain {plain:.4f} ± {plain_error:.4f} EUR")
print(f"with control variate {controlled:.4f} ± {controlled_error:.4f} EUR")
assert abs(plain - controlled) < 3 * plain_error
assert controlled > known  # an arithmetic mean is larger than a geometric one
assert plain_error > 12 * controlled_error
