"""Pools of each backend, with several numbers of workers."""

from __future__ import annotations

import pytest

from sharedmem import MapReduce, ProcessBackend, ThreadBackend

BACKENDS = [ProcessBackend, ThreadBackend]
# Serial, one worker, as many as the machine of the tests has cores, and more.
POOLS = [(ProcessBackend, 0)] + [(b, n) for b in BACKENDS for n in (1, 2, 5)]


def names(pools):
    return [f"{backend.__name__}-{n}" for backend, n in pools]


@pytest.fixture(params=POOLS, ids=names(POOLS))
def pool(request):
    backend, n = request.param
    return MapReduce(backend, np=n)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.__name__)
def backend(request):
    return request.param
