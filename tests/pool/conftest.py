"""Pools of each backend, with several numbers of workers."""

from __future__ import annotations

import pytest

from sharedmem import MapReduce, ProcessBackend, ThreadBackend

BACKENDS = [ProcessBackend, ThreadBackend]
# Serial, one worker, as many as the machine of the tests has cores, and more. Other versions of
# Python run none and two.
POOLS = [
    pytest.param((backend, n), id=f"{backend.__name__}-{n}", marks=[pytest.mark.slow] * (n % 2))
    for backend, n in [(ProcessBackend, 0)] + [(b, n) for b in BACKENDS for n in (1, 2, 5)]
]


@pytest.fixture(params=POOLS)
def pool(request):
    backend, n = request.param
    return MapReduce(backend, np=n)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.__name__)
def backend(request):
    return request.param
