"""Random numbers in tasks: `rng`, and the global generators."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sharedmem import (
    MapReduce,
)


def test_rng_depends_on_seed_and_task_alone(pool):
    draws = [
        each.map(lambda i: each.rng.random(), range(10))
        for each in (pool, MapReduce(pool.backend, np=pool.np, seed=5), MapReduce(np=2, seed=5))
    ]
    assert draws[1] == draws[2]
    assert draws[0] != draws[1]
    assert len(set(draws[1])) == 10


def test_rng_advances_within_a_task_and_differs_between_calls():
    pool = MapReduce(np=2, seed=1)
    first = pool.map(lambda i: (pool.rng.random(), pool.rng.random()), range(2))
    second = pool.map(lambda i: (pool.rng.random(), pool.rng.random()), range(2))
    assert len({*first[0], *first[1], *second[0], *second[1]}) == 8


def test_rng_outside_a_task_raises(pool):
    with pytest.raises(RuntimeError, match="outside a task"):
        pool.rng.random()


def test_global_generators_differ_between_workers():
    random.random(), np.random.random()
    draws = MapReduce(np=3).map(lambda i: (random.random(), np.random.random()), range(3))
    assert len({draw for pair in draws for draw in pair}) == 6


def test_global_generators_follow_the_seed():
    draws = [MapReduce(np=3, seed=8).map(lambda i: np.random.random(), range(3)) for _ in range(2)]
    assert draws[0] == draws[1]
