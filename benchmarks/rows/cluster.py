"""Rows of pools on a Dask cluster: dask.array on the same cluster, and no cluster.

As a program, the module runs the cluster, with one process per core, until standard input ends.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import DASK
from harness.timing import BENCHMARKS, MIB, OURS, REFERENCE, Call, Row, SetUp, per_item, scratch
from sharedmem import DaskBackend, MapReduce

# Of a file; 8 MiB of float64.
CHUNK = (1024, 1024)
COLUMNS = 4096


@functools.cache
def client() -> Any:
    """Return a client of the cluster; the first contender starts the cluster for all."""
    import distributed

    address = scratch() / "cluster"
    if not address.exists():
        process = subprocess.Popen(
            [sys.executable, "-m", "rows.cluster"],
            cwd=BENCHMARKS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        atexit.register(process.communicate)
        address.write_text(process.stdout.readline().strip())
        atexit.register(address.unlink, missing_ok=True)
    found: Any = distributed.Client(address.read_text())
    atexit.register(found.close)
    return found


def dask_array() -> Any:
    """Import `dask.array` when it is needed: forked workers do not need it."""
    return importlib.import_module("dask.array")


def stored(n: int) -> Any:
    """Return a zarr array of `n` bytes of small integers: their sums are exact."""
    import zarr

    path = scratch() / f"cluster-{n}.zarr"
    if path.exists():
        return zarr.open_array(str(path), mode="r")
    shape = (max(n // (8 * COLUMNS), CHUNK[0]), COLUMNS)
    array = zarr.create_array(str(path), shape=shape, chunks=CHUNK, dtype="f8")
    rows = np.resize(np.arange(-50.0, 51.0), (CHUNK[0], COLUMNS))
    for start in range(0, shape[0], CHUNK[0]):
        array[start : start + CHUNK[0]] = rows[: shape[0] - start]
    return zarr.open_array(str(path), mode="r")


def room(like: Any) -> Any:
    """Return an empty zarr array like another one."""
    import zarr

    path = str(scratch() / f"cluster-out-{os.getpid()}.zarr")
    return zarr.create_array(
        path, shape=like.shape, chunks=like.chunks, dtype=like.dtype, overwrite=True
    )


def there(function: Callable[..., Any], *make: Callable[[Any], Any]) -> SetUp:
    """Call a function on arrays in files, on the cluster."""

    def set_up(n: int) -> Call:
        pool = MapReduce(DaskBackend(client()))
        arrays = arrays_for(n, *make)

        def call() -> Any:
            with pool:
                return function(*arrays)

        return call

    return set_up


def here(function: Callable[..., Any], *make: Callable[[Any], Any]) -> SetUp:
    """Call a function on arrays in files, on this machine."""

    def set_up(n: int) -> Call:
        arrays = arrays_for(n, *make)
        return lambda: function(*arrays)

    return set_up


def by_dask(function: Callable[..., Any], *make: Callable[[Any], Any]) -> SetUp:
    """Call a function on a Dask array."""

    def set_up(n: int) -> Call:
        client()
        first, *others = arrays_for(n, *make)
        array = dask_array().from_zarr(first)
        return lambda: function(array, *others)

    return set_up


def rounded(value: Any) -> float:
    """Round a number to 12 digits; results of Dask differ in the last bits."""
    return float(f"{value:.12g}")


def arrays_for(n: int, *make: Callable[[Any], Any]) -> list[Any]:
    first = stored(n)
    return [first, *(one(first) for one in make)]


def persisted(n: int) -> Any:
    import distributed

    array: Any = client().persist(dask_array().from_zarr(stored(n)))
    distributed.wait(array)
    return array


def persisted_there(n: int) -> Call:
    array = persisted(n)
    pool = MapReduce(DaskBackend(client()))

    def call() -> Any:
        with pool:
            return rounded(sharedmem.var(array))

    return call


def persisted_by_dask(n: int) -> Call:
    array = persisted(n)
    return lambda: rounded(array.var().compute())


def shifted(x: Any, out: Any) -> None:
    out[:] = x[2:, 1:-1] - x[:-2, 1:-1]


def differences_by_dask(array: Any, out: Any) -> Any:
    result = array.map_overlap(
        lambda x: x[2:, 1:-1] - x[:-2, 1:-1],
        depth=1, boundary="reflect", trim=False, chunks=array.chunks, meta=np.empty((0, 0)),
    )  # fmt: skip
    result.store(out, lock=False)
    return end(out)


def negative(i: int) -> int:
    return -i


def tasks_there(n: int) -> Call:
    pool = MapReduce(DaskBackend(client()))

    def call() -> Any:
        with pool:
            return pool.map(negative, range(n))

    return call


def tasks_by_dask(n: int) -> Call:
    return lambda: client().gather(client().map(negative, range(n), pure=False))


def tasks_here(n: int) -> Call:
    def call() -> Any:
        with MapReduce() as pool:
            return pool.map(negative, range(n))

    return call


def tasks(n: int) -> Row:
    contenders = {OURS: tasks_there, DASK: tasks_by_dask, REFERENCE: tasks_here}
    if n > 1000:  # Dask takes 2 ms per task
        del contenders[DASK]
    title = f"a trivial task, {n:,} tasks"
    return Row(title, n, 20, contenders, "no slower than Dask", per_item)


def arrays(title: str, contenders: Mapping[str, SetUp]) -> Row:
    title = f"{title}, 256 MiB"
    return Row(title, 256 * MIB, 8 * MIB, contenders, "1.1 x of Dask's time")


def reduced(title: str, ours: Callable[..., Any], dasks: Callable[..., Any]) -> Row:
    contenders = {OURS: there(ours), DASK: by_dask(dasks), REFERENCE: here(ours)}
    return arrays(f"{title} of zarr", contenders)


def end(out: Any) -> Any:
    return out[:1, :1]


ROWS = {
    **{f"tasks-{n}": tasks(n) for n in (100, 1000, 10_000)},
    "sum": reduced("sum", sharedmem.sum, lambda a: a.sum().compute()),
    "histogram": reduced(
        "histogram", lambda a: sharedmem.histogram(a, 100, (-60, 60))[0],
        lambda a: dask_array().histogram(a, 100, (-60, 60))[0].compute(),
    ),
    "expression": arrays("2*a + 1, zarr to zarr", {
        OURS: there(lambda a, out: end(sharedmem.evaluate("2*a + 1", a=a, out=out)), room),
        DASK: by_dask(lambda a, out: (2 * a + 1).store(out, lock=False) or end(out), room),
        REFERENCE: here(lambda a, out: end(sharedmem.evaluate("2*a + 1", a=a, out=out)), room),
    }),
    "stencil": arrays("a stencil, zarr to zarr", {
        OURS: there(
            lambda a, out: end(sharedmem.map_overlap(shifted, a, out, depth=1)), room
        ),
        DASK: by_dask(differences_by_dask, room),
    }),
    "persisted": arrays("variance of a persisted dask array", {
        OURS: persisted_there, DASK: persisted_by_dask,
    }),
}  # fmt: skip


def main() -> None:
    import distributed

    with distributed.LocalCluster(
        n_workers=sharedmem.cpu_count(), threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
