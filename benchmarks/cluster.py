"""Compare pools on a Dask cluster with dask.array on the same, and with forked workers."""

from __future__ import annotations

import atexit
import functools
import importlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import zarr

import sharedmem
from sharedmem import DaskBackend, MapReduce
from timing import MIB, OURS, Call, Row, SetUp, per_item, print_table

# Typed in parts.
da: Any = importlib.import_module("dask.array")
OURS_THERE, DASK, OURS_HERE = OURS, "Dask", "sharedmem, forked or threads"
# Of a file; 8 MiB.
CHUNK = (1024, 1024)
COLUMNS = 4096


@functools.cache
def client() -> Any:
    """Return the client of a cluster with a process for each core."""
    cluster: Any = distributed.LocalCluster(
        n_workers=sharedmem.cpu_count(), threads_per_worker=1, dashboard_address="127.0.0.1:0"
    )
    found: Any = distributed.Client(cluster)
    atexit.register(cluster.close)
    atexit.register(found.close)
    return found


def folder() -> Path:
    """Return a new folder, which ends with the process."""
    found = tempfile.mkdtemp(prefix="sharedmem-cluster-")
    atexit.register(shutil.rmtree, found, ignore_errors=True)
    return Path(found)


def stored(n: int) -> Any:
    """Write `n` bytes of small integers, which are summed without error, and compress well."""
    shape = (max(n // (8 * COLUMNS), CHUNK[0]), COLUMNS)
    array = zarr.create_array(str(folder() / "a.zarr"), shape=shape, chunks=CHUNK, dtype="f8")
    rows = np.resize(np.arange(-50.0, 51.0), (CHUNK[0], COLUMNS))
    for start in range(0, shape[0], CHUNK[0]):
        array[start : start + CHUNK[0]] = rows[: shape[0] - start]
    return array


def room(like: Any) -> Any:
    """Return an empty array in a file, of the shape of another one."""
    path = str(folder() / "out.zarr")
    return zarr.create_array(path, shape=like.shape, chunks=like.chunks, dtype=like.dtype)


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
    """Call a function on an array of Dask's."""

    def set_up(n: int) -> Call:
        client()
        first, *others = arrays_for(n, *make)
        array = da.from_zarr(first)
        return lambda: function(array, *others)

    return set_up


def rounded(value: Any) -> float:
    """Return a number without its last bits, in which Dask's differs."""
    return float(f"{value:.12g}")


def arrays_for(n: int, *make: Callable[[Any], Any]) -> list[Any]:
    first = stored(n)
    return [first, *(one(first) for one in make)]


def persisted(n: int) -> Any:
    array: Any = da.from_zarr(stored(n))
    array = client().persist(array)
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
    result = da.map_overlap(
        lambda x: np.pad(x[2:, 1:-1] - x[:-2, 1:-1], 1), array, depth=1, boundary="reflect"
    )
    da.store(result, out, lock=False)
    return out[:1, :1]


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
    contenders = {OURS_THERE: tasks_there, DASK: tasks_by_dask, OURS_HERE: tasks_here}
    title = f"a trivial task, of {n:,}"
    return Row(title, n, 20, contenders, "no slower than Dask", per_item)


def arrays(title: str, contenders: Mapping[str, SetUp]) -> Row:
    title = f"{title}, 512 MiB"
    return Row(title, 512 * MIB, 8 * MIB, contenders, "1.1 x of Dask's time")


def reduced(title: str, ours: Callable[..., Any], dasks: Callable[..., Any]) -> Row:
    contenders = {OURS_THERE: there(ours), DASK: by_dask(dasks), OURS_HERE: here(ours)}
    return arrays(f"{title} of zarr", contenders)


def end(out: Any) -> Any:
    return out[:1, :1]


ROWS = {
    **{f"tasks-{n}": tasks(n) for n in (100, 1000, 10_000, 100_000)},
    "sum": reduced("sum", sharedmem.sum, lambda a: a.sum().compute()),
    "var": reduced(
        "variance", lambda a: rounded(sharedmem.var(a)), lambda a: rounded(a.var().compute())
    ),
    "columns": reduced(
        "sum along axis 0", lambda a: sharedmem.sum(a, 0), lambda a: a.sum(0).compute()
    ),
    "histogram": reduced(
        "histogram", lambda a: sharedmem.histogram(a, 100, (-60, 60))[0],
        lambda a: da.histogram(a, 100, (-60, 60))[0].compute(),
    ),
    "expression": arrays("2*a + 1, zarr to zarr", {
        OURS_THERE: there(lambda a, out: end(sharedmem.evaluate("2*a + 1", a=a, out=out)), room),
        DASK: by_dask(lambda a, out: da.store(2 * a + 1, out, lock=False) or end(out), room),
        OURS_HERE: here(lambda a, out: end(sharedmem.evaluate("2*a + 1", a=a, out=out)), room),
    }),
    "stencil": arrays("a stencil, zarr to zarr", {
        OURS_THERE: there(
            lambda a, out: end(sharedmem.map_overlap(shifted, a, out, depth=1)), room
        ),
        DASK: by_dask(differences_by_dask, room),
    }),
    "persisted": arrays("variance of a persisted dask array", {
        OURS_THERE: persisted_there, DASK: persisted_by_dask,
    }),
}  # fmt: skip

if __name__ == "__main__":
    print_table(__doc__, ROWS)
