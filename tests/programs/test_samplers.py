"""Samplers draw the same chains with a pool as without."""

import numpy as np
import pytest

import sharedmem


class Line:
    """A straight line and what was observed of it."""

    def __init__(self):
        self.x = np.linspace(0, 10, 50)
        self.y = 1.5 * self.x - 0.7 + np.random.default_rng(1).normal(0, 0.3, self.x.size)

    def __call__(self, theta):
        slope, offset = theta
        return -0.5 * np.sum(((self.y - slope * self.x - offset) / 0.3) ** 2)


def test_emcee_draws_the_chain_of_a_serial_run(pool):
    emcee = pytest.importorskip("emcee")
    start = (1.4, -0.5) + 0.1 * np.random.default_rng(2).normal(size=(12, 2))

    def chain(pool=None):
        np.random.seed(3)
        sampler = emcee.EnsembleSampler(*start.shape, Line(), pool=pool)
        sampler.run_mcmc(start, 10)
        return sampler.get_chain()

    assert np.array_equal(chain(pool), chain())


class Serially:
    """What dynesty asks of a pool, for two workers, without workers."""

    size = 2

    def map(self, function, items):
        return list(map(function, items))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_dynesty_finds_the_evidence_of_a_serial_run(pool):
    dynesty = pytest.importorskip("dynesty")

    def log_likelihood(x):
        return -0.5 * np.sum(x**2) / 0.1

    def evidence(pool):
        sampler = dynesty.NestedSampler(
            log_likelihood,
            lambda u: 4 * u - 2,
            ndim=2,
            nlive=30,
            sample="rwalk",
            rstate=np.random.default_rng(1),
            pool=pool,
        )
        sampler.run_nested(dlogz=5, maxiter=60, print_progress=False)
        return sampler.results.logz

    assert np.array_equal(evidence(pool), evidence(Serially()))


def main(pool, tasks):
    """Run as programs for schwimmbad do, on whichever pool the command line has chosen."""
    if not pool.is_master():
        pool.wait()
        raise SystemExit
    collected = []
    with pool:
        results = list(pool.map(lambda task: task**2, tasks, callback=collected.append))
    assert sorted(collected) == results  # each is collected as it arrives
    pool.close()
    return results, pool.size


@pytest.mark.parametrize("persistent", [False, True])
def test_programs_for_schwimmbad_run(persistent):
    pool = sharedmem.MapReduce(np=2, persistent=persistent)
    assert main(pool, range(5)) == ([0, 1, 4, 9, 16], 2)
