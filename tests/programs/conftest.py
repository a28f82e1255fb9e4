"""Pools as programs get them, and numbers that a program must not change."""

import numpy as np
import pytest

import sharedmem

POOLS = {
    "forked": {},
    "persistent": {"persistent": True},
}


@pytest.fixture(params=POOLS)
def pool(request):
    with sharedmem.MapReduce(np=2, **POOLS[request.param]) as pool:
        yield pool


@pytest.fixture(autouse=True)
def seeded():
    """Seed the generators that samplers draw from."""
    state = np.random.get_state()
    np.random.seed(1)
    yield
    np.random.set_state(state)
