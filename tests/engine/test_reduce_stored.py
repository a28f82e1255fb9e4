"""Arrays in files of zarr and h5py: the results of the arrays that they hold, chunk by chunk."""

import operator
from contextlib import contextmanager

import h5py
import numba
import numpy as np
import pytest
import zarr
from hypothesis import given, settings, strategies as st
from zarr.core.sync import cleanup_resources

import sharedmem
from sharedmem import MapReduce
from sharedmem.engine import cuts
from sharedmem.kernels import Reduction, extrema, histograms, sums, variances

CHUNK_BYTES = 1 << 14

VALUES = np.random.default_rng(0).normal(size=(100, 30, 9))


@pytest.fixture(autouse=True)
def many_chunks(tuned):
    tuned(chunk_bytes=CHUNK_BYTES)


@contextmanager
def stored(kind, values, path, chunks):
    """Put an array into a file, and give what reads it from there."""
    if kind == "zarr":
        yield zarr.create_array(str(path / "a.zarr"), data=values, chunks=chunks)
        cleanup_resources()  # zarr keeps its threads for the next call
    else:
        with h5py.File(path / "a.h5", "w") as file:
            yield file.create_dataset("a", data=values, chunks=None if kind == "flat" else chunks)


@pytest.fixture(params=["zarr", "h5py", "flat"])
def store(request, tmp_path):
    with stored(request.param, VALUES, tmp_path, (30, 20, 9)) as array:
        yield array


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (2, 1), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_reduction_is_that_of_the_array(store, axis, keepdims):
    with MapReduce(np=2) as pool:
        for reduction, expected in (
            (sums.add("f8", "f8"), np.sum),
            (extrema.minimum("f8"), np.min),
            (variances.variance("f8", "f8"), np.var),
        ):
            result = pool.reduce(reduction, store, axis, keepdims)
            wanted = expected(VALUES, axis=axis, keepdims=keepdims)
            assert np.shape(result) == wanted.shape
            np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "any", "nanmean"])
def test_elements_are_left_out_where_the_mask_says(store, name):
    for axis in (None, 1, (0, 2)):
        for mask in (VALUES > -2, np.arange(270).reshape(30, 9) % 4 > 0):
            result = getattr(sharedmem, name)(store, axis=axis, where=mask)
            wanted = getattr(np, name)(VALUES, axis=axis, where=mask)
            np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "sum",
        "mean",
        "min",
        "max",
        "ptp",
        "var",
        "std",
        "count_nonzero",
        "any",
        "all",
        "average",
        "nansum",
        "nanmean",
    ],
)
def test_functions_take_arrays_in_files(store, name):
    for axis in (None, 1, (0, 2)):
        result = getattr(sharedmem, name)(store, axis=axis)
        np.testing.assert_allclose(
            result, getattr(np, name)(VALUES, axis=axis), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("name", ["argmin", "argmax", "nanargmin", "nanargmax"])
def test_positions_are_found_in_files(store, name):
    function, by_numpy = getattr(sharedmem, name), getattr(np, name)
    for axis in (None, 0, -1):
        np.testing.assert_array_equal(function(store, axis=axis), by_numpy(VALUES, axis=axis))
        expected = by_numpy(np.rint(VALUES * 2), axis=axis, keepdims=True)  # the first of many
        result = sharedmem.evaluate(f"{name}(rint(a * 2), axis={axis}, keepdims=True)", a=store)
        np.testing.assert_array_equal(result, expected)


def test_a_file_of_nan_has_no_position(tmp_path):
    with stored("h5py", np.full((30, 20), np.nan), tmp_path, (7, 7)) as array:
        assert sharedmem.argmax(array) == 0
        with pytest.raises(ValueError, match="All-NaN slice"):
            sharedmem.nanargmin(array)


def test_several_results_and_those_with_axes_of_their_own(store):
    edges = np.linspace(-1, 1, 6)
    with MapReduce(np=2) as pool:
        smallest, largest = pool.reduce(extrema.minmax("f8"), store, axis=1)
        counts = pool.reduce(histograms.histogram("f8", edges, True), store, axis=(0, 2))
    np.testing.assert_array_equal(smallest, VALUES.min(1))
    np.testing.assert_array_equal(largest, VALUES.max(1))
    for row, count in enumerate(counts):
        np.testing.assert_array_equal(count, np.histogram(VALUES[:, row], 5, (-1, 1))[0])


def test_a_reduction_of_your_own(store):
    @numba.njit(nogil=True)
    def count_negative(x):
        return (x < 0).sum()

    negative = Reduction(count_negative, operator.add, identity=0)
    with MapReduce(np=2):
        assert sharedmem.reduce(negative, store) == (VALUES < 0).sum()
        np.testing.assert_array_equal(
            sharedmem.reduce(negative, store, axis=0), (VALUES < 0).sum(0)
        )


def test_any_number_of_workers_gives_the_same_bits(store):
    results = {MapReduce(np=n).reduce(sums.add("f8", "f8"), store) for n in (0, 1, 2, 3, 7)}
    assert len(results) == 1


# Loops compile in a tenth of the time of expressions of arrays.
@numba.njit(nogil=True)
def scale(x, y, factor):
    for i in np.ndindex(y.shape):
        y[i] = x[i] * factor


@numba.njit(nogil=True)
def negate(x):
    for i in np.ndindex(x.shape):
        x[i] = -x[i]


@pytest.mark.parametrize("axis", [0, 1])
def test_kernels_read_from_a_file_and_write_to_it(store, tmp_path, axis):
    result = np.empty_like(VALUES)
    with MapReduce(np=2):
        sharedmem.map_chunks(scale, store, args=(3.0,), axis=axis, out=result)
        np.testing.assert_array_equal(result, VALUES * 3)
        with h5py.File(tmp_path / "out.h5", "w") as file:
            out = file.create_dataset("out", VALUES.shape, "f8", chunks=(7, 30, 2))
            sharedmem.map_chunks(scale, store, args=(2.0,), axis=axis, out=out)
            np.testing.assert_array_equal(out[...], VALUES * 2)
        sharedmem.map_chunks(negate, store, axis=axis)
        np.testing.assert_array_equal(store[...], -VALUES)


def test_a_file_that_workers_could_not_write_to_is_refused(store, tmp_path):
    with MapReduce(np=2) as pool:
        with pytest.raises(ValueError, match="in a file, to which several processes must not"):
            pool.map_chunks(lambda x: None, store)
        with h5py.File(tmp_path / "b.h5", "w") as file:
            file["b"] = VALUES
        with (
            h5py.File(tmp_path / "b.h5", "r") as file,
            pytest.raises(ValueError, match=r"opened for reading: open it with mode 'r\+'"),
        ):
            pool.map_chunks(negate, file["b"])


def test_an_input_in_a_file_is_read_only_for_the_kernel(store):
    out = np.empty_like(VALUES)

    def spoil(x, y):
        x[:] = 0

    pool = sharedmem.MapReduceByThread(np=2)
    with pytest.raises(sharedmem.WorkerException, match="read-only"):
        pool.map_chunks(spoil, store, out=out)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_arrays_without_axes_or_elements(tmp_path, shape):
    with stored("zarr", np.zeros(shape), tmp_path, "auto") as array:
        assert MapReduce(np=2).reduce(sums.add("f8", "f8"), array) == 0


def test_only_slices_are_read(store):
    class Guarded:
        shape, dtype, ndim = store.shape, np.dtype(store.dtype), store.ndim
        chunks, nbytes = store.chunks, store.nbytes
        largest = 0

        def __getitem__(self, key):
            values = store[key]
            self.largest = max(self.largest, values.nbytes)
            return values

        def __array__(self, *_):
            raise AssertionError("the whole array was asked for")

    guarded = Guarded()
    MapReduce(np=2).reduce(sums.add("f8", "f8"), guarded, axis=0)
    assert 0 < guarded.largest <= 3 * CHUNK_BYTES


@given(
    extents=st.lists(st.integers(1, 50), min_size=1, max_size=3),
    data=st.data(),
    n_bytes=st.integers(1, 4000),
)
@settings(max_examples=50)
def test_chunks_begin_where_those_of_the_file_do(extents, data, n_bytes):
    class Stored:
        shape, dtype = tuple(extents), np.dtype("u1")
        chunks = tuple(data.draw(st.integers(1, 60)) for _ in extents)

    visits = np.zeros(extents, int)
    for chunk in sharedmem.chunks(Stored(), range(len(extents)), nbytes=n_bytes):
        visits[chunk] += 1
        for part, unit, extent in zip(chunk, Stored.chunks, extents, strict=True):
            assert part.start % unit == 0
            assert part.stop % unit == 0 or part.stop == extent
    assert (visits == 1).all()


ROW = np.arange(9.0)
OUT_CHUNKS = {"zarr": (7, 30, 2), "h5py": (20, 10, 9)}


@contextmanager
def empty_file(kind, path, dtype="f8", shape=VALUES.shape):
    if kind == "zarr":
        yield zarr.create_array(
            str(path / "out.zarr"), shape=shape, dtype=dtype, chunks=OUT_CHUNKS[kind]
        )
        cleanup_resources()
    else:
        with h5py.File(path / "out.h5", "w") as file:
            yield file.create_dataset("out", shape, dtype, chunks=OUT_CHUNKS[kind])


@pytest.fixture(params=OUT_CHUNKS)
def target(request, tmp_path):
    with empty_file(request.param, tmp_path) as array:
        yield array


def test_ufuncs_take_and_fill_arrays_in_files(store, target):
    with MapReduce(np=2):
        result = sharedmem.apply_ufunc(np.add, store, ROW)
        np.testing.assert_array_equal(result, VALUES + ROW)
        assert sharedmem.apply_ufunc(np.hypot, store, VALUES[::-1], out=target) is target
        np.testing.assert_array_equal(target[...], np.hypot(VALUES, VALUES[::-1]))
        sharedmem.apply_ufunc(np.negative, target, out=target, where=VALUES > 0)
        expected = np.hypot(VALUES, VALUES[::-1])
        np.testing.assert_array_equal(target[...], np.where(VALUES > 0, -expected, expected))


def test_an_array_in_a_file_is_broadcast(tmp_path):
    column = VALUES[:, :1, 0].copy()
    with stored("h5py", column, tmp_path, (30, 1)) as store, MapReduce(np=2):
        for other in (VALUES[:, :, 1], VALUES[..., 1][None].repeat(3, 0)):
            np.testing.assert_array_equal(
                sharedmem.apply_ufunc(np.multiply, store, other), column * other
            )
        np.testing.assert_array_equal(sharedmem.evaluate("a * b", a=store, b=ROW), column * ROW)


def test_core_axes_are_read_whole(store):
    with MapReduce(np=2):
        result = sharedmem.apply_ufunc(np.matmul, store, VALUES[0].T)
    np.testing.assert_allclose(result, VALUES @ VALUES[0].T, rtol=1e-12, atol=1e-12)


def test_two_outputs_in_files(tmp_path):
    with empty_file("zarr", tmp_path) as one, empty_file("h5py", tmp_path) as two:
        sharedmem.apply_ufunc(np.modf, VALUES, out=(one, two))
        for out, expected in zip((one, two), np.modf(VALUES), strict=True):
            np.testing.assert_array_equal(out[...], expected)


def test_expressions_take_and_fill_arrays_in_files(store, target):
    expected = VALUES * 2 + ROW
    with MapReduce(np=2):
        np.testing.assert_array_equal(sharedmem.evaluate("a * 2 + row", a=store, row=ROW), expected)
        assert sharedmem.evaluate("a * 2 + row", a=store, row=ROW, out=target) is target
        np.testing.assert_array_equal(target[...], expected)
        sharedmem.evaluate("b - a", a=store, b=target, out=target)
        np.testing.assert_array_equal(target[...], expected - VALUES)
        with pytest.raises(TypeError, match="same_kind"):
            sharedmem.evaluate("a * 1j", a=store, out=target)


@numba.njit(nogil=True)
def differ(x, y):
    for i, j, k in np.ndindex(y.shape):
        y[i, j, k] = x[i + 2, j + 1, k + 1] - x[i + 1, j, k + 2]


@pytest.mark.parametrize("boundary", ["reflect", "periodic", "nearest", 7.0, "none"])
def test_stencils_read_a_halo_from_a_file(store, target, boundary):
    expected = sharedmem.zeros_like(VALUES)
    with MapReduce(np=2):
        sharedmem.map_overlap(differ, VALUES, expected, depth=1, boundary=boundary)
        result = np.zeros_like(VALUES)
        sharedmem.map_overlap(differ, store, result, depth=1, boundary=boundary)
        np.testing.assert_array_equal(result, expected)
        sharedmem.map_overlap(differ, store, target, depth=1, boundary=boundary)
        np.testing.assert_array_equal(target[...], expected)
        with pytest.raises(ValueError, match="shares memory"):
            sharedmem.map_overlap(differ, store, store, depth=1)


def test_no_chunk_of_a_file_is_written_twice(tmp_path):
    with empty_file("zarr", tmp_path) as target, MapReduce(np=2):
        writes = np.zeros(VALUES.shape, int)

        class Counted:
            shape, dtype, ndim, chunks = target.shape, target.dtype, target.ndim, target.chunks
            nbytes = target.nbytes

            def __getitem__(self, key):
                return target[key]

            def __setitem__(self, key, values):
                for part, unit, extent in zip(key, self.chunks, self.shape, strict=False):
                    assert part.start % unit == 0
                    assert part.stop % unit == 0 or part.stop == extent
                writes[key] += 1

        with stored("h5py", VALUES, tmp_path, (30, 20, 9)) as store:
            sharedmem.evaluate("a + 1", a=store, out=Counted())
            sharedmem.map_overlap(differ, store, Counted(), depth=1)
            with pytest.raises(ValueError, match="cut those of a file"):
                sharedmem.map_chunks(
                    scale, store, args=(1.0,), chunks=sharedmem.chunks(100, size=10), out=target
                )
    assert (writes == 2).all()


def test_outputs_without_common_chunks_are_refused():
    class Stored:
        def __init__(self, length):
            self.shape, self.ndim, self.dtype, self.chunks = (10**9,), 1, np.dtype("f8"), (length,)
            self.nbytes = 8 * 10**9

        def __getitem__(self, key):
            return np.zeros(len(range(10**9)[key[0]]))

    with pytest.raises(ValueError, match="store them in chunks of the same shape"):
        sharedmem.apply_ufunc(np.modf, Stored(1000), out=(Stored(10007), Stored(10009)))


def test_histograms_are_taken_of_files(store):
    cases = [{"bins": 7}, {"bins": [-1.0, 0.0, 0.5]}, {"bins": 5, "range": (-1, 1)}, {"bins": 5000}]
    for options in cases:
        hist, edges = sharedmem.histogram(store, **options)
        expected = np.histogram(VALUES, **options)
        np.testing.assert_array_equal(hist, expected[0])
        np.testing.assert_array_equal(edges, expected[1])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sort", ()),
        ("argsort", ()),
        ("searchsorted", (0.0,)),
        ("nanmedian", ()),
        ("histogram", ("auto",)),
        ("bincount", ()),
        ("take", ([0],)),
        ("nonzero", ()),
        ("where", (1.0, 0.0)),
        ("clip", (0.0, 1.0)),
        ("unique", ()),
        ("norm", ()),
        ("dot", (ROW,)),
        ("vdot", (ROW,)),
        ("sum", (None, None, np.float32(0))),
    ],
)
def test_what_would_load_a_file_refuses_it(name, arguments):
    class Guarded:
        shape, dtype, ndim, chunks = VALUES.shape, VALUES.dtype, 3, (30, 20, 9)
        nbytes, size = VALUES.nbytes, VALUES.size

        def __getitem__(self, key):
            raise AssertionError("it was read")

        __array__ = __getitem__

    with pytest.raises(TypeError, match=r"give a\[\.\.\.\] to load it, or .*map_chunks"):
        getattr(sharedmem, name)(Guarded(), *arguments)


def test_an_array_like_one_in_a_file_does_not_read_it():
    class Guarded:
        shape, dtype, ndim, chunks = (3, 2), np.dtype("f4"), 2, (1, 2)

        def __getitem__(self, key):
            raise AssertionError("it was read")

    result = sharedmem.zeros_like(Guarded())
    assert result.shape == (3, 2)
    assert result.dtype == "f4"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scans_of_files(store, target, axis):
    with MapReduce(np=2):
        result = sharedmem.cumsum(store, axis=axis, out=target)
        assert result is target
        np.testing.assert_allclose(target[...], np.cumsum(VALUES, axis), rtol=1e-12, atol=1e-12)
        result = sharedmem.accumulate(np.maximum, store, axis)
        np.testing.assert_array_equal(result, np.maximum.accumulate(VALUES, axis))


def test_a_long_scan_of_a_file_is_compensated(tmp_path):
    values = np.random.default_rng(1).uniform(size=9000).astype("f4")
    with stored("h5py", values, tmp_path, (1000,)) as store, MapReduce(np=2):
        expected = np.cumsum(values.astype("f8"))
        result = sharedmem.cumsum(store)
        assert result.dtype == "f4"
        np.testing.assert_array_equal(result, expected.astype("f4"))
        result = sharedmem.cumsum(store, dtype="f8")
        np.testing.assert_allclose(result, expected, rtol=3e-16)
        values[4000] = np.inf
        store[...] = values
        np.testing.assert_array_equal(sharedmem.cumsum(store)[4000:], np.inf)


def test_scans_of_integers_in_files(tmp_path):
    values = np.arange(-50, 9950, dtype="i2").reshape(100, 100)
    with stored("h5py", values, tmp_path, (30, 30)) as store, MapReduce(np=2):
        np.testing.assert_array_equal(sharedmem.cumsum(store, 0), np.cumsum(values, 0))
        np.testing.assert_array_equal(sharedmem.cumprod(store, 1), np.cumprod(values, 1))
        with pytest.raises(TypeError, match="accumulated by add, maximum, minimum"):
            sharedmem.accumulate(np.logaddexp, store)
        with pytest.raises(TypeError, match="would have to be read as a whole"):
            sharedmem.cumsum(store)
        with pytest.raises(ValueError, match="cannot store the result"):
            sharedmem.cumsum(store, 0, out=np.zeros((100, 99)))


@pytest.mark.parametrize("axis", [None, 1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_quantiles_of_files(store, axis, keepdims):
    with MapReduce(np=2):
        for q in (0.3, [0.0, 0.25, 1.0]):
            result = sharedmem.quantile(store, q, axis=axis, keepdims=keepdims)
            np.testing.assert_array_equal(
                result, np.quantile(VALUES, q, axis=axis, keepdims=keepdims)
            )
        result = sharedmem.median(store, axis=axis, keepdims=keepdims)
        np.testing.assert_array_equal(result, np.median(VALUES, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("kind", ["ties", "nan", "integers", "periodic"])
def test_quantiles_of_unusual_files(tmp_path, kind, tuned):
    tuned(stored_sample_size=1 << 10)
    values = np.random.default_rng(2).normal(size=40_000)
    if kind == "ties":
        values = np.round(values)
    elif kind == "nan":
        values[123] = np.nan
    elif kind == "integers":
        values = (1000 * values).astype("i4")
    else:
        values = np.resize([1.0, 2.0, 3.0, 1000.0], 40_000)
    q = [0, 0.01, 0.5, 0.75, 0.999, 1]
    with stored("h5py", values, tmp_path, (700,)) as store, MapReduce(np=2):
        np.testing.assert_array_equal(sharedmem.quantile(store, q), np.quantile(values, q))


def test_default_chunks_go_by_the_file_that_is_written(tmp_path):
    rows = np.arange(4000.0)[:, None]
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        out = file.create_dataset("wide", (4000, 500), "f8", chunks=(200, 500))
        lengths = set()

        def copy(x, y):
            lengths.add(len(x))
            y[:] = x

        pool = sharedmem.MapReduceByThread(np=2)
        pool.map_chunks(copy, rows, out=out)
        assert lengths == {200}
        pool.map_chunks(copy, rows, out=out, chunks=sharedmem.chunks(rows, size=400))
        assert lengths == {200, 400}
        np.testing.assert_array_equal(out[:, 7], rows[:, 0])
        for size in (300, 1500):
            with pytest.raises(ValueError, match=r"cut those of a file, \(200, 500\)"):
                pool.map_chunks(copy, rows, out=out, chunks=sharedmem.chunks(rows, size=size))


@given(
    length=st.integers(1, 40),
    unit=st.integers(1, 12),
    own=st.integers(1, 12),
    n=st.integers(1, 40),
)
@settings(max_examples=100)
def test_a_grid_is_refused_where_two_tasks_would_write_to_one_chunk(length, unit, own, n):
    class Stored:
        def __init__(self, unit):
            self.shape, self.ndim, self.dtype, self.chunks = (length,), 1, np.dtype("u1"), (unit,)

        def __getitem__(self, key):
            return np.zeros(self.shape)[key]

    grid = sharedmem.chunks(Stored(unit), n=n)
    fits = all(chunk.start % own == 0 for chunk in grid)
    try:
        cuts.check_cut(grid, cuts.place([Stored(own)], 0, grid))
    except ValueError:
        assert not fits
    else:
        assert fits


def test_gufuncs_read_chunks_of_their_largest_array(tmp_path):
    with stored("h5py", np.ones((4000, 600)), tmp_path, (100, 600)) as store:
        largest = []

        class Guarded:
            shape, dtype, ndim, chunks = store.shape, store.dtype, 2, store.chunks

            def __getitem__(self, key):
                values = store[key]
                largest.append(values.nbytes)
                return values

        with MapReduce(np=2):
            result = sharedmem.apply_ufunc(np.vecdot, Guarded(), np.ones(600))
        np.testing.assert_array_equal(result, np.full(4000, 600.0))
        assert max(largest) == 100 * 600 * 8


@pytest.mark.parametrize("chunks", [None, (3, 5), [3, 5]])
def test_any_object_with_the_protocol_is_a_file(chunks):
    class Stored:
        shape, ndim, size, nbytes, dtype = (9, 9), 2, 81, 648, np.dtype("f8")

        def __init__(self):
            self.chunks, self.reads = chunks, 0

        def __getitem__(self, key):
            return np.arange(81.0).reshape(9, 9)[key]

    assert sharedmem.sum(Stored()) == 3240
    np.testing.assert_array_equal(sharedmem.cumsum(Stored(), axis=0)[-1], Stored()[:].sum(axis=0))
