"""A cluster whose connections are encrypted, with certificates made on the fly."""

import subprocess

import dask
import distributed
import pytest

import sharedmem
from sharedmem import DaskBackend, MapReduce


@pytest.fixture
def security(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    try:
        subprocess.run(
            [*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("certificates are made by openssl, which is not installed")
    files = {
        f"tls_{role}_{part}": str(file)
        for role in ("client", "scheduler", "worker")
        for part, file in (("key", key), ("cert", certificate))
    }
    return distributed.Security(tls_ca_file=str(certificate), require_encryption=True, **files)


@pytest.mark.timeout(60)
def test_a_map_over_tls(security):
    with (
        dask.config.set({"distributed.logging.distributed": "critical"}),
        distributed.LocalCluster(
            n_workers=1,
            processes=False,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            protocol="tls://",
            security=security,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, security=security, set_as_default=False) as client,
        MapReduce(DaskBackend(client)) as pool,
    ):
        assert cluster.scheduler_address.startswith("tls://")
        total = sharedmem.zeros(1)

        def add(i):
            with pool.critical:
                total[0] += i
            return pool.np

        assert pool.map(add, range(5)) == [1] * 5
        assert total[0] == 10
