"""Optimizers find the same with a pool as without."""

import numpy as np
import pytest

optimize = pytest.importorskip("scipy.optimize")


def test_differential_evolution_evolves_as_a_serial_run(pool):
    target = np.array([0.3, -1.2])

    def evolved(workers):
        bounds = [(-2, 2)] * 2
        return optimize.differential_evolution(
            lambda x: np.sum((x - target) ** 2),
            bounds,
            popsize=5,
            maxiter=10,
            rng=1,
            polish=False,
            updating="deferred",
            workers=workers,
        )

    found, expected = evolved(pool.map), evolved(1)
    assert np.array_equal(found.x, expected.x)
    assert found.nfev == expected.nfev


def test_brute_searches_the_grid(pool):
    found = optimize.brute(
        lambda x: abs(x[0] - 3), [slice(0, 6, 1.0)], finish=None, workers=pool.map
    )
    assert found == 3
