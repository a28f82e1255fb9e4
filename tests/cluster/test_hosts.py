"""Two hosts: a scheduler here, and a worker in another network namespace, connected by veth."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import distributed
import numpy as np
import pytest

import sharedmem
from sharedmem import DaskBackend, MapReduce, WorkerException

ROOT = Path(__file__).parents[2]
HERE, THERE = "10.213.77.1", "10.213.77.2"
HOST = "sharedmem-host"
# A process in another PID namespace cannot open shared memory of this process.
APART = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def ip(command):
    subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def other_host():
    """Yield the command prefix that runs a program on the other host."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("ip of iproute2 and unshare of util-linux make the other host")
    try:
        ip(f"netns add {HOST}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not allowed here: {error.stderr.strip()}")
    with contextlib.ExitStack() as stack:
        stack.callback(ip, f"netns del {HOST}")
        try:
            ip(f"link add shm0 type veth peer name shm1 netns {HOST}")
            ip(f"addr add {HERE}/24 dev shm0")
            ip("link set shm0 up")
            ip(f"-n {HOST} addr add {THERE}/24 dev shm1")
            ip(f"-n {HOST} link set shm1 up")
            subprocess.run(["ip", "netns", "exec", HOST, *APART, "true"], check=True)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"a pair of network devices cannot be made here: {error}")
        yield ["ip", "netns", "exec", HOST, *APART]


@pytest.fixture(scope="module")
def hosts(other_host):
    """Yield a client of a scheduler here, with a worker on each host."""
    python = [sys.executable, "-m", "distributed.cli.dask_worker"]
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(
            distributed.LocalCluster(
                n_workers=0, host=HERE, dashboard_address=f"{HERE}:0", silence_logs=50
            )
        )
        address = scheduler.scheduler_address
        options = ["--no-dashboard", "--nthreads", "1", "--no-nanny"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        for command in (
            [*python, address, "--name", "here", "--host", HERE, *options],
            [*other_host, *python, address, "--name", "there", "--host", THERE, *options],
        ):
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait, 10)
            stack.callback(process.kill)
        client = stack.enter_context(distributed.Client(address, set_as_default=False))
        client.wait_for_workers(2, timeout=30)
        yield client


def names(pool):
    """Return the workers that run tasks."""

    def name(i):
        time.sleep(0.05)
        return distributed.get_worker().name

    return set(pool.map(name, range(8), chunksize=1))


@pytest.mark.timeout(120)
def test_a_map_over_two_hosts(hosts, tmp_path):
    shared = sharedmem.full(100_000, 2.0)
    captured = np.arange(100_000.0)
    on_disk = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", "f8", (20,))
    with MapReduce(DaskBackend(hosts), seed=3) as pool:
        assert names(pool) == {"here", "there"}
        ranks = pool.map(lambda i: (time.sleep(0.01), pool.local.rank)[1], range(20), chunksize=1)
        assert set(ranks) == {0, 1}

        def work(i):
            with pool.ordered:
                on_disk[i] = shared[i] * captured[i]
            return pool.rng.random()

        found = pool.map(work, range(20))
        assert on_disk.tolist() == [2.0 * i for i in range(20)]

        def write(i):
            time.sleep(0.05)
            shared[i] = 0

        # The worker on the other host has a copy, where a write would be lost.
        with pytest.raises(WorkerException, match="can write to shared arrays"):
            pool.map(write, range(8), chunksize=1)
    with MapReduce(np=2, seed=3) as pool:
        pool.map(abs, [1])
        pool.map(abs, [1])
        assert pool.map(lambda _: pool.rng.random(), range(20)) == found


@pytest.mark.timeout(120)
def test_arrays_over_two_hosts(hosts, tmp_path):
    values = np.random.default_rng(0).normal(size=2_000_000)
    np.save(tmp_path / "a.npy", values)
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    expected = sharedmem.sum(array)
    with MapReduce(DaskBackend(hosts)):
        assert sharedmem.sum(array) == expected
        out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", "f8", values.shape)
        sharedmem.evaluate("2 * a", a=array, out=out)
        np.testing.assert_array_equal(out, 2 * values)
        with pytest.raises(ValueError, match=r"shared memory of this machine.*give out="):
            sharedmem.evaluate("2 * a", a=array)
