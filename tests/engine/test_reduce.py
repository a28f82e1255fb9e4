"""Users' reductions, on pools of every kind."""

import operator

import numba
import numpy as np
import pytest

import sharedmem
from sharedmem.engine import runners
from sharedmem.engine.reduce import reduce
from sharedmem.kernels import Reduction, extrema, sums
from tests.engine.helpers import TEAMS, make_array


@numba.njit(nogil=True)
def count_and_sum(x):
    return x.size, x.sum()


def add_pairs(a, b):
    return a[0] + b[0], a[1] + b[1]


MEAN = Reduction(count_and_sum, add_pairs, lambda state: state[1] / state[0])


@pytest.mark.parametrize("axis", [None, 0, (0, 1)])
def test_users_reductions(pool, axis):
    a = make_array()
    np.testing.assert_allclose(pool.reduce(MEAN, a, axis), a.mean(axis), rtol=1e-14)
    np.testing.assert_allclose(pool.reduce(MEAN, a[::-1, ::2].T), a[:, ::2].mean(), rtol=1e-14)


def test_a_state_may_be_an_array_and_keeps_the_order_of_memory(pool):
    a = make_array()
    joined = Reduction(lambda x: x.copy(), lambda x, y: np.concatenate([x, y]))
    np.testing.assert_array_equal(pool.reduce(joined, a), a.ravel())


def test_an_identity_is_the_result_for_nothing(pool):
    counted = Reduction(len, operator.add, identity=0)
    assert pool.reduce(counted, np.empty((0, 3))) == 0
    assert pool.reduce(counted, np.empty((0, 3)), axis=0).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"no identity: shape \(0, 3\)"):
        pool.reduce(MEAN, np.empty((0, 3)))


@pytest.mark.parametrize("shape", [(2000,), (3, 900), (900, 3), (40, 5, 30), (7, 90, 2, 4)])
def test_all_teams_give_the_same_bits(shape, tuned):
    tuned(thread_bytes=1, chunk_bytes=1 << 10)
    a = np.random.default_rng(0).normal(size=shape)
    teams = [make() for make in TEAMS.values()]
    teams += [sharedmem.MapReduce(np=np_) for np_ in (1, 3, 7)]
    for axis in (None, 0, -1):
        expected, *others = (pool.reduce(sums.add("f8", "f8"), a, axis) for pool in teams)
        for other in others:
            np.testing.assert_array_equal(other, expected)


def test_long_results_are_written_by_the_workers(pool):
    a = np.random.default_rng(0).random((3, 5000))
    np.testing.assert_array_equal(pool.reduce(extrema.maximum("f8"), a, 0), a.max(0))
    np.testing.assert_array_equal(
        pool.reduce(extrema.maximum("f8"), a.T, 1, True), a.T.max(1, keepdims=True)
    )


def test_an_axis_that_is_not_there_is_refused():
    a = make_array()
    run = runners.run_serially
    for axis in (2, -3, (0, 0)):
        with pytest.raises(ValueError, match="axis"):
            reduce(run, MEAN, a, axis)


def test_a_reduction_with_parallel_loops_starts_no_threads():
    @numba.njit(parallel=True)
    def total(x):
        s = 0.0
        for i in numba.prange(x.size):
            s += x[i]
        return s

    added = Reduction(total, operator.add)
    assert sharedmem.MapReduce(np=2).reduce(added, np.ones(300_000)) == 300_000


@pytest.mark.parametrize(
    ("shape", "axis", "releases", "in_threads"),
    [
        ((300_000,), None, True, True),
        ((300_000,), 0, True, True),
        ((600, 500), None, True, True),
        ((600, 500), 1, True, False),
        ((300_000,), None, False, False),
    ],
)
def test_a_kernel_that_releases_the_gil_reduces_a_whole_array_in_threads(
    shape, axis, releases, in_threads, tuned
):
    tuned(thread_bytes=1, chunk_bytes=1 << 17)
    negative = numba.njit(nogil=releases)(lambda x: (x < 0).sum())
    with sharedmem.MapReduce(np=2, trace=True) as pool:
        found = pool.reduce(Reduction(negative, operator.add), -np.ones(shape), axis)
        assert np.sum(found) == 300_000
        assert (max(pool.trace.memory_bytes) == 0) is in_threads  # only processes have their own
