"""Pools of every kind, with chunks so small that arrays of a test have many."""

import pytest

from tests.engine.helpers import TEAMS


@pytest.fixture(params=TEAMS)
def pool(request, tuned):
    tuned(thread_bytes=1, chunk_bytes=1 << 10)
    return TEAMS[request.param]()
