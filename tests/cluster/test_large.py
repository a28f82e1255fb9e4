"""An array larger than the memory of all workers: each holds few chunks at a time."""

import resource

import distributed
import pytest
import zarr

import sharedmem
from sharedmem import DaskBackend, MapReduce

SHAPE = (1250, 1_000_000)  # 10 GB


def peak():
    """Return the largest memory use of a worker, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_array_of_10_gb_with_workers_of_1_gb(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=SHAPE, chunks=(125, 10_000), dtype="f8", fill_value=1.0
    )
    array[:125, :10_000] = 3.0  # the other chunks have no files
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit="1GB",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        MapReduce(DaskBackend(client)),
    ):
        assert sharedmem.sum(array) == 1250 * 1_000_000 + 2 * 1_250_000
        assert all(bytes_ < 1e9 for bytes_ in client.run(peak).values())
