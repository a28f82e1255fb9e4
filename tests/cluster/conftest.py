"""A cluster of two processes for all tests; a test that leaves anything on it fails."""

import contextlib
import gc
import logging
import time
from pathlib import Path

import dask
import distributed
import pytest

from leftovers import segments
from sharedmem import DaskBackend, MapReduce

GRACE_SECONDS = 5.0

# A lock is released soon after its holder has died, and a task kills few workers. A worker that is
# away, since it was just killed, when this time has passed since it was killed before, would be
# given up.
CONFIG = {
    "distributed.deploy.lost-worker-timeout": "1h",
    "distributed.scheduler.allowed-failures": 1,
    "distributed.scheduler.locks.lease-timeout": "2s",
    "distributed.scheduler.locks.lease-validation-interval": "200ms",
    "distributed.logging.distributed": "critical",
}


def pytest_collection_modifyitems(items):
    """Run these tests last: other tests fork, which the threads of Dask would disturb."""
    here = Path(__file__).parent
    items.sort(key=lambda item: here in item.path.parents)


@pytest.fixture(scope="session")
def cluster():
    with (
        dask.config.set(CONFIG),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="session")
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="session")
def backend(client):
    return DaskBackend(client)


@pytest.fixture
def pool(backend):
    with MapReduce(backend) as pool:
        yield pool


def _on_worker():
    from sharedmem.cluster.worker import _stations

    return {"calls": list(_stations)} if _stations else {}


def left_on(cluster, client):
    """Return what calls have left in the scheduler and the workers."""
    gc.collect()
    scheduler = cluster.scheduler
    extensions = scheduler.extensions
    found = {
        "tasks": list(scheduler.tasks),
        "events": list(extensions["events"]._events),
        "locks": list(extensions["semaphores"].max_leases),
        "workers": [part for part in client.run(_on_worker).values() if part],
    }
    return {kind: names for kind, names in found.items() if names}


def bring_back_both_workers(cluster, client):
    """Wait for the workers: an earlier test may have killed one, which Dask may not restart."""
    with contextlib.suppress(TimeoutError):
        client.wait_for_workers(2, timeout=15)
        return
    cluster.scale(0)
    deadline = time.monotonic() + 15
    while cluster.scheduler.workers and time.monotonic() < deadline:
        time.sleep(0.05)
    cluster.scale(2)
    try:
        client.wait_for_workers(2, timeout=15)
    except TimeoutError:
        pytest.fail(f"Dask has not started two workers again: {[*cluster.scheduler.workers]}")


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    """Check only the cluster: Dask keeps threads and sockets in this process."""
    if "cluster" not in request.fixturenames:
        yield
        return
    cluster, client = (request.getfixturevalue(name) for name in ("cluster", "client"))
    request.getfixturevalue("backend")
    bring_back_both_workers(cluster, client)
    before = segments()
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        left = left_on(cluster, client)
        new = segments() - before
        if not left and not new:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"the test left behind {left or new}")
        time.sleep(0.05)
