"""Array-likes with a mask, units, or missing values are passed to NumPy, or refused by name."""

import inspect
import itertools

import numpy as np
import pytest

import sharedmem
from sharedmem import random

MASKED = np.ma.array([[5.0, 1, 999], [2, 7, -999]], mask=[[0, 0, 1], [0, 0, 1]])


class Length(np.ndarray):
    """An array with a unit, which overrides NumPy's functions as astropy's Quantity does."""

    def __array_function__(self, func, types, args, kwargs):
        return "with its unit"


class Distance:
    """An object with a unit, which has NumPy's protocol as pint's Quantity does."""

    shape, dtype, ndim, size = (3,), np.dtype(float), 1, 3

    def __array__(self, dtype=None, copy=None):
        return np.arange(3.0)

    def __array_function__(self, func, types, args, kwargs):
        return "with its unit"


class Reader:
    """An object that gives masked arrays, as netCDF4's Variable does."""

    def __array__(self, dtype=None, copy=None):
        return MASKED[0]


class MaskedStore:
    """An array in a file of which masked arrays are read."""

    shape, dtype, ndim, size, chunks, nbytes = (3,), np.dtype(float), 1, 3, (1,), 24

    def __getitem__(self, region):
        return MASKED[0][region]


class DataArray:
    """An array with names for its axes, which holds another one, as xarray's does."""

    dims = ("x",)

    def __init__(self, data):
        self._data = data
        self.shape, self.dtype, self.ndim, self.size = data.shape, data.dtype, 1, 3
        self.chunks = getattr(data, "chunks", None)

    @property
    def data(self):
        return self._data

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._data)

    def __array_ufunc__(self, *_, **__):
        raise AssertionError("its names were lost")

    def __getitem__(self, region):
        return DataArray(self._data[region])


class Column:
    """A column of numbers with missing values, marked as pandas, Arrow, or polars does."""

    ndim = 1

    def __init__(self, **known):
        self.__dict__.update(known)

    def __array__(self, dtype=None, copy=None):
        return np.array([1.0, np.nan])

    def __getitem__(self, place):
        return self.column


def pandas_column(dtype):
    return Column(dtype=dtype, isna=lambda: np.array([False, True]))


LOSING = {
    "masked array": MASKED,
    "masked": np.ma.masked,
    "unit": np.arange(3.0).view(Length),
    "protocol": Distance(),
    "matrix": np.array([[1.0, 2.0]]).view(np.matrix),
    "reader": Reader(),
    "masked store": MaskedStore(),
    "unit in xarray": DataArray(Distance()),
    "mask in xarray": DataArray(MASKED[0]),
    "pandas": pandas_column(dtype="Int64"),
    "frame": Column(
        ndim=2, isna=None, dtypes=["Int64"], iloc=Column(column=pandas_column("Int64"))
    ),
    "Arrow": Column(null_count=1),
    "polars": Column(null_count=lambda: 1),
    "table": Column(itercolumns=lambda: [Column(null_count=1)]),
    "list": [1.0, np.ma.masked],
    "rows": [[MASKED[0]], [MASKED[1]]],
    "sparse": type("Sparse", (), {"shape": (1,), "dtype": float, "toarray": None})(),
    "generator": (x for x in [1.0]),
    "set": {1.0},
}

# Their shape and dtype are known without reading elements.
FORMS = {"masked store", "unit in xarray", "mask in xarray", "sparse"}


def halve(x):
    x /= 2


def copy_chunk(x, out):
    out[:] = x


ONES = np.ones(3)
# One call for each public function, and for each argument that is an array.
CALLS = {
    "accumulate": [lambda f, a: f(np.add, a), lambda f, a: f(np.add, ONES, out=a)],
    "apply_ufunc": [
        lambda f, a: f(np.exp, a),
        lambda f, a: f(np.exp, ONES, out=a),
        lambda f, a: f(np.exp, ONES, out=np.ones(3), where=a),
    ],
    "average": [lambda f, a: f(a), lambda f, a: f(ONES, weights=a)],
    "bincount": [lambda f, a: f(a), lambda f, a: f(np.ones(3, int), a)],
    "clip": [lambda f, a: f(a, 0, 1), lambda f, a: f(ONES, a, 1), lambda f, a: f(ONES, 0, a)],
    "compress": [lambda f, a: f(a, ONES), lambda f, a: f([True] * 3, a, axis=-1)],
    "diff": [lambda f, a: f(a), lambda f, a: f(ONES, prepend=a), lambda f, a: f(ONES, append=a)],
    "digitize": [lambda f, a: f(a, ONES), lambda f, a: f(ONES, a)],
    "dot": [lambda f, a: f(a, ONES), lambda f, a: f(ONES, a)],
    "vdot": [lambda f, a: f(a, ONES), lambda f, a: f(ONES, a)],
    "evaluate": [lambda f, a: f("x + 1", x=a), lambda f, a: f("x + 1", x=ONES, out=a)],
    "full": [lambda f, a: f(3, a)],
    "full_like": [lambda f, a: f(a, 1), lambda f, a: f(ONES, a)],
    "histogram": [
        lambda f, a: f(a),
        lambda f, a: f(ONES, bins=a),
        lambda f, a: f(ONES, weights=a),
    ],
    "histogram2d": [lambda f, a: f(a, ONES), lambda f, a: f(ONES, ONES, weights=a)],
    "histogramdd": [lambda f, a: f(a), lambda f, a: f([ONES], weights=a)],
    "map_chunks": [lambda f, a: f(halve, a), lambda f, a: f(copy_chunk, a, out=np.ones(3))],
    "map_overlap": [lambda f, a: f(copy_chunk, a, np.ones(3), depth=0)],
    "partition": [lambda f, a: f(a, 1)],
    "quantile": [lambda f, a: f(a, 0.5), lambda f, a: f(ONES, a)],
    "percentile": [lambda f, a: f(a, 0.5), lambda f, a: f(ONES, a)],
    "nanquantile": [lambda f, a: f(a, 0.5), lambda f, a: f(ONES, a)],
    "nanpercentile": [lambda f, a: f(a, 0.5), lambda f, a: f(ONES, a)],
    "reduce": [lambda f, a: f(sharedmem.Reduction(chunk=len, combine=max), a)],
    "searchsorted": [lambda f, a: f(a, ONES), lambda f, a: f(ONES, a)],
    "take": [lambda f, a: f(a, [0]), lambda f, a: f(ONES, a)],
    "topk": [lambda f, a: f(a, 1)],
    "where": [
        lambda f, a: f(a),
        lambda f, a: f(a, 1, 2),
        lambda f, a: f([True] * 3, a, 1),
        lambda f, a: f([True] * 3, 1, a),
    ],
    "sum": [lambda f, a: f(a), lambda f, a: f(a, axis=-1), lambda f, a: f(ONES, where=a)],
}
# These take no array, or keep all of it.
WITHOUT = (
    "available_memory background chunks cpu_count empty fromfile fromiter get_debug "
    "is_shared ones set_debug share total_memory zeros"
)
FUNCTIONS = [
    name
    for name in sharedmem.__all__
    if inspect.isfunction(getattr(sharedmem, name)) and name not in WITHOUT.split()
]
REDUCTIONS = "sum prod mean min max var std any all argmin nansum"


@pytest.mark.filterwarnings("ignore")  # NumPy's own, about such arguments
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_mask_unit_or_missing_value_is_lost(name):
    calls = CALLS.get(name, [lambda f, a: f(a)])
    kinds = [kind for kind in LOSING if kind not in FORMS or not name.endswith("_like")]
    with sharedmem.MapReduceByThread(np=2):
        for kind, call in itertools.product(kinds, calls):
            try:
                result = call(getattr(sharedmem, name), LOSING[kind])
            except Exception:  # any error is fine: nothing is lost silently
                continue
            by_numpy = call(getattr(np, name), LOSING[kind])
            assert type(result) is type(by_numpy), kind
            assert repr(result) == repr(by_numpy), kind


@pytest.mark.parametrize("name", REDUCTIONS.split())
@pytest.mark.parametrize("axis", [None, 1])
def test_reductions_ignore_masked_elements(name, axis):
    without = np.asarray(MASKED)[:, :2]
    result = getattr(sharedmem, name)(MASKED, axis=axis)
    np.testing.assert_array_equal(result, getattr(np, name)(without, axis=axis))


@pytest.mark.parametrize("name", ["ptp", "minmax", "count_nonzero"])
def test_reductions_without_a_rule_for_masks_refuse_masked_arrays(name):
    for options in ({}, {"axis": 0}, {"keepdims": True}):
        with pytest.raises(TypeError, match="MaskedArray has a mask"):
            getattr(sharedmem, name)(MASKED, **options)


@pytest.mark.parametrize("kind", ["masked array", "unit", "pandas", "sparse", "generator"])
def test_errors_name_the_type_and_the_remedy(kind):
    with pytest.raises(TypeError, match=rf"{type(LOSING[kind]).__name__} .*(give|a\.)"):
        sharedmem.sort(LOSING[kind])


@pytest.mark.parametrize("kind", ["masked array", "unit", "generator"])
def test_random_numbers_refuse_masks_and_units(kind):
    with pytest.raises(TypeError):
        random.normal(LOSING[kind], size=3)
    with pytest.raises(TypeError):
        random.uniform(out=LOSING[kind])
    with pytest.raises(TypeError):
        random.permutation(LOSING[kind])


def test_containers_of_plain_numbers_are_taken_as_arrays():
    column = Column(dtype=np.dtype(float), isna=lambda: np.array([False, True]))
    whole = Column(null_count=0)
    for a in (
        column,
        whole,
        DataArray(np.array([1.0, np.nan])),
        np.array([1.0, np.nan]).view(Unit),
    ):
        np.testing.assert_array_equal(sharedmem.sort(a), [1, np.nan])
        np.testing.assert_array_equal(sharedmem.cumsum(a), [1, np.nan])
        assert sharedmem.nansum(a) == 1


class Unit(np.recarray):
    """A subclass that changes nothing about the numbers."""


@pytest.mark.parametrize("lengths", [None, ((2, 1),)])
def test_an_array_of_xarray_is_an_array_like_and_not_a_file(lengths):
    a = DataArray(np.array([2.0, 3.0, 1.0]))
    a.chunks = lengths
    assert sharedmem.sum(a) == 6
    assert sharedmem.evaluate("2 * a", a=a).tolist() == [4, 6, 2]
    assert sharedmem.apply_ufunc(np.negative, a).tolist() == [-2, -3, -1]
    assert sharedmem.sort(a).tolist() == [1, 2, 3]
    assert len(sharedmem.chunks(a, size=1)) == 3


class Compressed:
    """An array in a file that overrides NumPy's ufuncs and comparisons, as blosc2's does."""

    ndim, chunks = 1, (2,)

    def __init__(self, values):
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype
        self.size, self.nbytes = values.size, values.nbytes

    def __array_ufunc__(self, *_, **__):
        raise AssertionError("it was taken as a whole")

    def __eq__(self, other):
        return self._values == other._values

    def __getitem__(self, region):
        return self._values[region]

    def __setitem__(self, region, values):
        self._values[region] = values


def test_an_array_in_a_file_may_override_ufuncs():
    a, out = Compressed(np.arange(5.0)), Compressed(np.zeros(5))
    assert sharedmem.sum(a) == 10
    with sharedmem.MapReduceByThread(np=2):
        sharedmem.map_chunks(copy_chunk, a, out=out)
    np.testing.assert_array_equal(out[...], a[...])
    with pytest.raises(TypeError, match="an array in a file"):
        sharedmem.sort(a)
