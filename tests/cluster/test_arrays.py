"""Arrays in files, which the workers of a cluster read and write: results, bits, and refusals."""

import json
import operator

import dask.array
import h5py
import numba
import numpy as np
import pytest
import zarr

import sharedmem
from sharedmem import MapReduce, WorkerException
from sharedmem.engine.reduce import Request
from sharedmem.engine.reduce_stored import reduce_stores
from sharedmem.engine.regions import Derived
from sharedmem.kernels import Reduction, sums

# Without a cache, two workers compile the kernels.
pytestmark = pytest.mark.timeout(300)

# Several default chunks, cut along both axes.
SHAPE = (400, 2001)
VALUES = np.random.default_rng(0).normal(size=SHAPE)
VALUES[5, 7] = np.nan


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    np.save(folder / "a.npy", VALUES)
    np.save(folder / "f.npy", np.asfortranarray(VALUES))
    zarr.create_array(str(folder / "a.zarr"), data=VALUES, chunks=(100, 700))
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("a", data=VALUES, chunks=(100, 700))
    return folder


def opened(folder, kind):
    if kind == "zarr":
        return zarr.open_array(str(folder / "a.zarr"), mode="r")
    if kind == "h5":
        return h5py.File(folder / "a.h5", "r")["a"]
    return np.load(folder / kind, mmap_mode="r")


@pytest.fixture(params=["zarr", "a.npy"])
def stored(request, folder):
    return opened(folder, request.param)


@pytest.fixture(params=["zarr", "h5", "a.npy", "f.npy"])
def any_stored(request, folder):
    return opened(folder, request.param)


@pytest.fixture
def runs_far(pool, monkeypatch):
    """Count the calls that run on the cluster."""
    calls = []

    def counted(run):
        def count(*args, **options):
            calls.append(run)
            return run(*args, **options)

        return count

    monkeypatch.setattr(pool.backend, "run_map", counted(pool.backend.run_map))
    monkeypatch.setattr(pool.backend, "run_imap", counted(pool.backend.run_imap))
    return calls


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", ["nansum", "nanvar"])
def test_reductions_are_bitwise_equal_to_those_of_one_machine(stored, name, axis, pool, runs_far):
    function = getattr(sharedmem, name)
    with MapReduce(np=2):  # first, so that the workers find the kernels compiled
        expected = np.array(function(stored, axis=axis))
    result = np.array(function(stored, axis=axis))
    assert len(runs_far) == 1
    if axis is None or not isinstance(stored, np.memmap):
        np.testing.assert_array_equal(result, expected)
    else:  # whose chunks are those of lines in memory
        np.testing.assert_allclose(result, expected, rtol=1e-14, atol=1e-14)


def test_histograms_and_keepdims(any_stored, pool):
    edges = np.linspace(-2, 2, 9)
    counts, _ = sharedmem.histogram(any_stored, edges)
    np.testing.assert_array_equal(counts, np.histogram(VALUES, edges)[0])
    assert sharedmem.nansum(any_stored, keepdims=True).shape == (1, 1)
    assert sharedmem.nansum(any_stored, axis=1, keepdims=True).shape == (400, 1)


def test_masked_elements_are_ignored(stored, folder, pool, runs_far):
    positive = VALUES > 0
    expected = VALUES[positive]
    row = np.arange(SHAPE[1]) % 2 == 0
    dasks = dask.array.from_zarr(str(folder / "a.zarr"))
    assert sharedmem.sum(stored, where=positive) == pytest.approx(expected.sum(), rel=1e-14)
    assert sharedmem.std(stored, where=positive) == pytest.approx(expected.std(), rel=1e-14)
    assert sharedmem.nansum(dasks, where=row) == sharedmem.nansum(stored, where=row)
    assert sharedmem.sum(dasks, where=dasks > 0) == sharedmem.sum(stored, where=positive)
    n_far = len(runs_far)
    assert n_far >= 6
    assert sharedmem.sum(VALUES, where=positive) == pytest.approx(expected.sum(), rel=1e-14)
    assert len(runs_far) == n_far


def test_a_broadcast_array_is_sent_as_it_is_stored(pool):
    spread = np.broadcast_to(np.arange(3.0), (10**9, 3))
    assert pool.map(lambda i: spread[i, i] if spread.shape[0] == 10**9 else None, range(3)) == [
        0,
        1,
        2,
    ]


def test_a_custom_reduction(stored, pool):
    @numba.njit(nogil=True)
    def count_negative(x):
        return (x < 0).sum()

    negative = Reduction(count_negative, operator.add, identity=0)
    assert sharedmem.reduce(negative, stored) == (VALUES < 0).sum()


def test_tasks_read_a_region_of_a_dask_array_once_for_several_reductions(folder, pool):
    array = dask.array.from_zarr(str(folder / "a.zarr"))
    square = Derived(np.square, (array,), array.shape, array.dtype)
    stream, _, (seen, square_seen), _ = pool.runner.stored((array, square))
    assert square_seen.sources == (seen,)
    requests = [
        Request(sums.add("f8", "f8"), a, axis) for a in (seen, square_seen) for axis in (None, 0)
    ]
    found = reduce_stores(stream, requests)
    with MapReduce(np=2) as local:
        expected = [
            local.reduce(sums.add("f8", "f8"), a, axis)
            for a in (VALUES, VALUES**2)
            for axis in (None, 0)
        ]
    for result, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-12)


@pytest.mark.parametrize("axis", [None, 0])
def test_a_custom_reduction_of_several_arrays_of_which_some_are_dask_arrays(
    folder, pool, axis, runs_far
):
    def weighted_sum(x, w):
        return np.nansum(x * w), len(x)

    def add(a, b):
        return a[0] + b[0], a[1] + b[1]

    mean = Reduction(weighted_sum, add, lambda state: state[0] / state[1])
    count = Reduction(lambda x, w: len(x), operator.add)
    weights = np.arange(SHAPE[1])
    array = dask.array.from_zarr(str(folder / "a.zarr"))
    for arrays in ((array, weights), (opened(folder, "f.npy"), array[:1] * 0 + weights)):
        n_far = len(runs_far)
        found = pool.reduce({"mean": mean, "count": count}, arrays, axis)
        assert len(runs_far) == n_far + 1
        wanted = np.nansum(VALUES * weights, axis) / np.ones(SHAPE).sum(axis)
        np.testing.assert_allclose(found["mean"], wanted, rtol=1e-10)
        assert np.sum(found["count"]) == VALUES.size


@pytest.fixture
def out(request, tmp_path):
    """An output array in a file whose format differs from that of the input."""
    if ".npy" in request.node.name:
        path = str(tmp_path / "out.zarr")
        return zarr.create_array(path, shape=SHAPE, chunks=(100, 700), dtype="f8")
    return np.lib.format.open_memmap(tmp_path / "out.npy", "w+", "f8", SHAPE)


def test_kernels_write_to_files_chunk_by_chunk(stored, out, pool, runs_far):
    def scale(x, y, position, factor):
        y[:] = factor * x + position[0]

    result = sharedmem.map_chunks(scale, stored, args=(2.0,), axis=1, out=out, position=True)
    assert result is out
    np.testing.assert_array_equal(out[...], VALUES * 2)
    assert len(runs_far) == 1


def test_a_shared_array_is_changed_in_place_with_a_file(stored, pool, runs_far):
    def add(x, y):
        x += y

    shared = sharedmem.ones(SHAPE)
    assert sharedmem.map_chunks(add, shared, stored) is shared
    np.testing.assert_array_equal(shared, VALUES + 1)
    assert len(runs_far) == 1


def test_ufuncs_and_expressions(stored, out, pool, runs_far):
    row = np.arange(SHAPE[1], dtype=float)
    assert sharedmem.apply_ufunc(np.add, stored, row, out=out) is out
    np.testing.assert_array_equal(out[...], VALUES + row)
    sharedmem.evaluate("a * a + 1", a=stored, out=out)
    np.testing.assert_array_equal(out[...], VALUES * VALUES + 1)
    result = sharedmem.evaluate("2 * a", a=stored)  # shared memory: the workers are on this machine
    np.testing.assert_array_equal(result, VALUES * 2)
    assert len(runs_far) == 3


def test_expressions_reduce(any_stored, pool, runs_far):
    row = np.arange(SHAPE[1], dtype=float)
    wanted = ["nansum(a * b)", "nanmax(a - b, axis=0)", "count_nonzero(a > 0) / 2"]
    total, largest, half = sharedmem.evaluate(wanted, {"a": any_stored, "b": row})
    np.testing.assert_allclose(total, np.nansum(VALUES * row), rtol=1e-12)
    np.testing.assert_array_equal(largest, np.nanmax(VALUES - row, axis=0))
    assert half == (VALUES > 0).sum() / 2
    assert len(runs_far) == 1  # which reads the array once


def test_stencils(any_stored, out, pool, runs_far):
    def differ(x, y):
        y[:] = x[2:, 1:-1] - x[1:-1, :-2]

    sharedmem.map_overlap(differ, any_stored, out, depth=1, boundary="periodic")
    expected = np.roll(VALUES, -1, 0) - np.roll(VALUES, 1, 1)
    np.testing.assert_array_equal(out[...], expected)
    assert len(runs_far) == 1


def test_cumulative_functions_and_quantiles(stored, out, pool, runs_far):
    values = np.nan_to_num(VALUES)
    clean = sharedmem.evaluate("where(isnan(a), 0, a)", a=stored)
    np.testing.assert_array_equal(clean, values)
    sharedmem.cumsum(stored, axis=1, out=out)
    np.testing.assert_allclose(out[...], np.cumsum(VALUES, 1), rtol=1e-12, atol=1e-12)
    result = sharedmem.accumulate(np.maximum, stored, 0)
    np.testing.assert_array_equal(result, np.maximum.accumulate(VALUES, 0))
    assert np.isnan(sharedmem.quantile(stored, 0.5))
    np.testing.assert_array_equal(
        sharedmem.quantile(stored, [0.1, 0.7], axis=0), np.quantile(VALUES, [0.1, 0.7], axis=0)
    )
    out[...] = values
    result = sharedmem.quantile(out, [0.0, 0.4, 1.0])
    np.testing.assert_array_equal(result, np.quantile(values, [0.0, 0.4, 1.0]))
    assert len(runs_far) >= 10


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_quantiles_that_ignore_nan_run_on_this_machine(folder, axis, pool, runs_far):
    mapped = opened(folder, "a.npy")
    result = sharedmem.nanquantile(mapped, [0.1, 0.7], axis=axis)
    np.testing.assert_array_equal(result, np.nanquantile(VALUES, [0.1, 0.7], axis=axis))
    assert not runs_far


def test_calls_on_arrays_in_memory_run_on_this_machine(pool, runs_far):
    assert sharedmem.sum(np.ones(10_000_000)) == 1e7
    assert not runs_far


def test_mapped_files_that_a_function_captures_are_sent_by_name(folder, out, pool):
    stored = np.load(folder / "a.npy", mmap_mode="r")[::-1, 3:]

    def write(i):
        out[i] = i
        return float(stored[i, 0])

    assert pool.map(write, range(5)) == VALUES[::-1, 3][:5].tolist()
    assert out[:5, 0].tolist() == [0, 1, 2, 3, 4]

    def spoil(i):
        stored[i] = 0

    with pytest.raises(WorkerException, match="read-only"):
        pool.map(spoil, range(1))


def test_outputs_that_workers_cannot_write_are_refused(folder, tmp_path, pool):
    stored = opened(folder, "zarr")

    def kernel(*_):
        raise AssertionError("it was run")

    with h5py.File(tmp_path / "b.h5", "w") as file:
        refused = [
            (np.zeros(SHAPE), "private memory"),
            (file.create_dataset("b", SHAPE, "f8", chunks=True), "HDF5"),
            (
                zarr.create_array(zarr.storage.MemoryStore(), shape=SHAPE, dtype="f8"),
                "in memory of",
            ),
            (np.load(folder / "a.npy", mmap_mode="r"), "read-only"),
            (stored, "opened for reading"),
            (zarr.open_array(str(folder / "a.zarr"), mode="r+"), "also an input"),
        ]
        for target, why in refused:
            with pytest.raises(ValueError, match=why):
                pool.map_chunks(kernel, stored, out=target)
    with pytest.raises(ValueError, match="also an input"):
        pool.map_chunks(kernel, zarr.open_array(str(folder / "a.zarr"), mode="r+"))


def test_a_file_that_a_worker_cannot_open_raises(tmp_path, pool):
    array = np.lib.format.open_memmap(tmp_path / "gone.npy", "w+", "f8", (2_000_000,))
    (tmp_path / "gone.npy").unlink()
    with pytest.raises(WorkerException, match="does not see this file; put it on storage"):
        sharedmem.sum(array)


def test_stats_on_the_command_line(cluster, folder, capsys):
    from sharedmem.cli.main import main

    files = [str(folder / name) for name in ("a.zarr", "a.npy", "a.h5")]
    assert main(["stats", "--json", *files]) == 0
    here = json.loads(capsys.readouterr().out)["arrays"]
    assert main(["stats", "--json", "--dask", cluster.scheduler_address, *files]) == 0
    there = json.loads(capsys.readouterr().out)["arrays"]
    for one, other in zip(here, there, strict=True):
        for name in ("count", "n_nan", "min", "max", "histogram"):
            assert one[name] == other[name]
        assert other["mean"] == pytest.approx(one["mean"], rel=1e-14)
    named = [f"{name}={file}" for name, file in zip("abc", files, strict=True)]
    arguments = ["--dask", cluster.scheduler_address, *named, "--expr", "a + b*c - nanmax(b)"]
    assert main(["stats", "--json", *arguments]) == 0
    (computed,) = json.loads(capsys.readouterr().out)["arrays"]
    expected = VALUES + VALUES * VALUES - np.nanmax(VALUES)
    assert (computed["count"], computed["n_nan"]) == (expected.size, 1)
    assert (computed["min"], computed["max"]) == (np.nanmin(expected), np.nanmax(expected))
    assert main(["stats", "--workers", "2", "--dask", "x", files[0]]) == 2
    assert "--workers cannot be combined with --dask" in capsys.readouterr().err


@pytest.fixture(params=["persisted", "computed"])
def dask_array(request, folder, client):
    array = dask.array.from_zarr(str(folder / "a.zarr"))
    if request.param == "persisted":
        array = client.persist(array)
    else:
        array = (dask.array.concatenate([array[:150], array[150:]]) * 2) / 2  # uneven chunks
    yield array
    client.cancel(array)


def test_dask_arrays(dask_array, folder, out, pool):
    stored = opened(folder, "zarr")
    is_even = len({*dask_array.chunks[0][:-1]}) == 1
    for name, axis in (("nansum", None), ("nanvar", 0)):
        expected = getattr(sharedmem, name)(stored, axis=axis)
        result = getattr(sharedmem, name)(dask_array, axis=axis)
        np.testing.assert_allclose(result, expected, rtol=0 if is_even else 1e-14)
    sharedmem.evaluate("a + b", a=dask_array, b=stored, out=out)
    np.testing.assert_array_equal(out[...], 2 * VALUES)
    spread = sharedmem.evaluate(
        "nanvar(a - nanmean(a, axis=0)) + 0 * nanmin(b)", a=dask_array, b=stored
    )
    np.testing.assert_allclose(spread, np.nanvar(VALUES - np.nanmean(VALUES, axis=0)), rtol=1e-12)

    def differ(x, y):
        y[:] = x[2:, 1:-1] - x[1:-1, :-2]

    sharedmem.map_overlap(differ, dask_array, out, depth=1, boundary="reflect")
    around = np.pad(VALUES, 1, "symmetric")
    np.testing.assert_array_equal(out[...], around[2:, 1:-1] - around[1:-1, :-2])

    def scale(x, y):
        y[:] = 2 * x

    pool.map_chunks(scale, dask_array, axis=1, out=out)
    np.testing.assert_array_equal(out[...], VALUES * 2)
    stack = dask_array[None].repeat(2, axis=0)
    pool.map_chunks(lambda x, y: np.sum(x, 0, out=y), stack, axis=(2, 1), out=out)
    np.testing.assert_array_equal(out[...], VALUES * 2)
    with pytest.raises(TypeError, match="returns an object of type float, which would be lost"):
        pool.map_chunks(lambda x, y: 0.0, dask_array, out=out)


def test_dask_arrays_need_a_cluster(folder):
    array = dask.array.from_zarr(str(folder / "a.zarr"))
    with (
        MapReduce(np=2) as pool,
        pytest.raises(TypeError, match=r"give it to a pool on one, MapReduce\(DaskBackend"),
    ):
        pool.reduce(Reduction(len, max), array)


def test_dask_arrays_as_outputs_are_refused(folder, pool):
    array = dask.array.from_zarr(str(folder / "a.zarr"))
    with pytest.raises(TypeError, match="cannot be written to: give an array of zarr"):
        pool.map_chunks(abs, array, out=array)


class DataArray:
    """An array that holds another one, as xarray's does."""

    dims = ("x",)

    def __init__(self, data):
        self._data = data
        self.shape, self.dtype, self.ndim, self.chunks = data.shape, data.dtype, 1, data.chunks

    @property
    def data(self):
        return self._data

    def __array_ufunc__(self, *_, **__):
        raise AssertionError("its names were lost")


def test_a_dask_array_inside_one_of_xarray_is_read_by_a_cluster():
    with pytest.raises(TypeError, match="workers of a cluster"):
        sharedmem.sum(DataArray(dask.array.ones(3, chunks=2)))


def test_labels_of_xarray_come_back_from_a_cluster(pool):
    xarray = pytest.importorskip("xarray")
    values = np.arange(6.0).reshape(2, 3)
    grid = xarray.DataArray(dask.array.from_array(values, (1, 2)), {"x": [5, 7]}, ("x", "y"), "v")
    xarray.testing.assert_identical(sharedmem.sum(grid, dim="y"), grid.compute().sum("y"))
