"""The price of an Asian option by Monte Carlo."""

from __future__ import annotations

import numpy as np

import sharedmem

N_PATHS, N_STEPS = 10_000, 100
STRIKE, VOLATILITY = 100.0, 0.2
SEED = 1


def prepare(n_batches: int) -> int:
    return n_batches


def price(rng: np.random.Generator) -> float:
    """Average, over paths, what the mean of a path pays beyond the strike."""
    mean, deviation = -(VOLATILITY**2) / 2 / N_STEPS, VOLATILITY / N_STEPS**0.5
    steps = rng.normal(mean, deviation, (N_PATHS, N_STEPS))
    paths = STRIKE * np.exp(np.cumsum(steps, axis=1))
    return float(np.maximum(paths.mean(axis=1) - STRIKE, 0).mean())


# The versions draw different numbers: 4.6 is the price, and whole units are what they agree in.


def ours(n_batches: int) -> int:
    with sharedmem.MapReduce(seed=SEED) as pool:
        return int(np.mean(pool.map(lambda _: price(pool.rng), range(n_batches))))


def plain(n_batches: int) -> int:
    seeds = np.random.SeedSequence(SEED).spawn(n_batches)
    return int(np.mean([price(np.random.default_rng(seed)) for seed in seeds]))


def peer(n_batches: int) -> int:
    import joblib

    seeds = np.random.SeedSequence(SEED).spawn(n_batches)
    task = joblib.delayed(lambda seed: price(np.random.default_rng(seed)))
    return int(np.mean(joblib.Parallel(n_jobs=sharedmem.cpu_count())(map(task, seeds))))
