"""Functions take arrays of xarray, and give them back with their labels, as xarray labels them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem

xarray = pytest.importorskip("xarray")

REDUCTIONS = [
    "sum", "prod", "mean", "var", "std", "min", "max", "median", "any", "all", "ptp", "average",
    "count_nonzero", "nansum", "nanmax", "nanmedian", "moments", "minmax",
]  # fmt: skip
SCANS = ["cumsum", "cumprod", "nancumsum", "nancumprod"]
DIMS = ("x", "y", ("a", "b"))  # any hashable is a name


@st.composite
def arrays(draw, min_dims=0):
    """Draw a DataArray with coordinates of some of its axes, of two axes, and of none."""
    shape = draw(st.lists(st.integers(1, 3), min_size=min_dims, max_size=3))
    dims = DIMS[: len(shape)]
    coords = {
        "time": ((), np.datetime64("2000")),
        "x": ("x", ["é", "b", "é"][: (shape or [0])[0]]),
        "other": ("x", np.arange((shape or [0])[0])),
        "plane": (("x", "y"), np.ones(shape[:2])),
    }
    names = draw(st.sets(st.sampled_from([*coords])))
    fitting = {key: coords[key] for key in names if {*coords[key][0]} <= {*dims}}
    values = draw(st.lists(st.integers(-3, 3), min_size=math.prod(shape), max_size=27))
    data = np.resize(values, shape).astype(draw(st.sampled_from(["f8", "f4", "i8", "?"])))
    name = draw(st.sampled_from([None, "temperature"]))
    return xarray.DataArray(data, fitting, dims, name, {"units": "K"})


def some_dims(array):
    return (
        st.none() | st.lists(st.sampled_from(array.dims), unique=True) if array.ndim else st.none()
    )


def check(result, expected):
    assert type(result) is type(expected)
    assert type(getattr(result, "data", np.ones(1))) is np.ndarray
    xarray.testing.assert_identical(result, expected)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60)
@given(arrays(), st.data())
def test_reductions(array, data):
    name = data.draw(st.sampled_from(REDUCTIONS))
    dims, keepdims = data.draw(some_dims(array)), data.draw(st.booleans())
    function = getattr(sharedmem, name)
    axes = None if dims is None else tuple(map(array.dims.index, dims))
    try:
        values = function(array.to_numpy(), axis=axes, keepdims=keepdims)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        with pytest.raises(type(error)):
            function(array, dim=dims, keepdims=keepdims)
        return
    with xarray.set_options(keep_attrs=data.draw(st.sampled_from(["default", True, False]))):
        labels = array.reduce(np.sum, dims, keepdims=keepdims)
        by_name = function(array, dim=dims, keepdims=keepdims)
        by_axis = function(array, axis=axes, keepdims=keepdims)
        of_set = function(array.to_dataset(name="v"), dim=dims, keepdims=keepdims)
        labels_of_set = array.to_dataset(name="v").reduce(np.sum, dims, keepdims=keepdims)
    if not isinstance(values, tuple):
        values, by_name, by_axis, of_set = (values,), (by_name,), (by_axis,), (of_set,)
    for value, *found, whole in zip(values, by_name, by_axis, of_set, strict=True):
        for result in found:
            check(result, labels.copy(data=value))
        check(whole, labels_of_set.copy(data={"v": value}))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40)
@given(arrays(min_dims=1), st.data())
def test_functions_along_one_axis(array, data):
    dim = data.draw(st.sampled_from(array.dims))
    axis = array.dims.index(dim)
    by_xarray = array.cumsum([dim])
    for name in SCANS:
        values = getattr(sharedmem, name)(array.to_numpy(), axis=axis)
        check(getattr(sharedmem, name)(array, dim=[dim]), by_xarray.copy(data=values))
    check(sharedmem.accumulate(np.maximum, array, dim=[dim]),
          by_xarray.copy(data=np.maximum.accumulate(array.to_numpy(), axis)))  # fmt: skip
    for name in ("argmin", "argmax", "nanargmax"):
        check(getattr(sharedmem, name)(array, dim=[dim]), array.reduce(np.argmin, [dim]).copy(
            data=getattr(np, name)(array.to_numpy(), axis)))  # fmt: skip
    n = data.draw(st.integers(0, array.shape[axis]))
    labels = array.astype(float).diff(dim, n)
    check(sharedmem.diff(array, n, dim=[dim]), labels.copy(data=np.diff(array.to_numpy(), n, axis)))
    numbers = array.astype(float)
    for q in (0.25, [0.5], [0.0, 1.0]):
        expected = numbers.quantile(q, [dim], skipna=False)  # without coordinates that have no axis
        expected = expected.assign_coords(
            {key: array[key] for key in array.coords if key == "time"}
        )
        check(sharedmem.quantile(numbers, q, dim=[dim]), expected)
        whole = sharedmem.quantile(numbers.to_dataset(name="v"), q, dim=[dim])
        check(whole, expected.to_dataset(name="v"))


@settings(max_examples=40)
@given(arrays(), st.data())
def test_elementwise_functions(array, data):
    check(sharedmem.apply_ufunc(np.exp2, array), np.exp2(array))
    check(sharedmem.clip(array.astype(int), 0, 1), array.astype(int).clip(0, 1))
    check(
        sharedmem.where(array > 0, array, 7.0), xarray.where(array > 0, array, 7.0, keep_attrs=True)
    )
    other = array.copy().rename(data.draw(st.sampled_from([None, "temperature", "other"])))
    name = array.name if array.name == other.name else None
    check(sharedmem.apply_ufunc(np.maximum, array, other), np.maximum(array, other).rename(name))
    check(sharedmem.evaluate("a - 1", a=array.astype(float)), array.astype(float) - 1)
    check(sharedmem.evaluate("sum(a)", a=array.astype(float)), array.astype(float).sum())
    scaled = sharedmem.apply_ufunc(np.maximum, array.to_dataset(name="v"), 1)
    check(scaled, np.maximum(array.to_dataset(name="v"), 1))
    if array.ndim:
        rest = array.isel({array.dims[0]: 0}, drop=True).drop_vars(
            "plane", errors="ignore"
        )  # broadcast along the first axis
        plain = array.drop_vars([key for key in array.coords if "x" in array[key].dims])
        if "time" in array.coords:
            rest = rest.assign_coords(time=array["time"])
        check(sharedmem.apply_ufunc(np.maximum, plain, rest), np.maximum(plain, rest))
        mean = sharedmem.mean(plain, dim=plain.dims[0], keepdims=True)
        check(sharedmem.apply_ufunc(np.maximum, plain, mean), np.maximum(plain.copy(
            data=np.maximum(plain.to_numpy(), mean.to_numpy())), -9))  # fmt: skip


GRID = xarray.DataArray(np.arange(6.0).reshape(2, 3), {"x": [1, 2]}, ("x", "y"), "grid")


@pytest.mark.parametrize(
    "other",
    [
        GRID.assign_coords(x=[2, 1]),
        GRID.drop_vars("x"),
        GRID.assign_coords(y=[1, 2, 3]),
        GRID.rename(y="z"),
        GRID.isel(x=0),
        GRID.isel(x=[0]),
        xarray.DataArray(np.ones((3, 3)), dims=("y", "x")).isel(y=[0, 1]),
    ],
)
def test_labels_that_differ_are_refused(other):
    for call in (
        lambda: sharedmem.apply_ufunc(np.add, GRID, other),
        lambda: sharedmem.where(GRID > 0, GRID, other),
        lambda: sharedmem.sum(GRID, where=other > 0),
    ):
        with pytest.raises(ValueError, match="they must be equal: align them first"):
            call()


def test_arguments_that_do_not_fit():
    pandas = pytest.importorskip("pandas")
    two = xarray.Dataset({"a": GRID, "b": GRID})
    times = xarray.DataArray(np.array([1, "x", None], object), dims="t")
    for call, message in [
        (lambda: sharedmem.sum(GRID, 0, dim="x"), "got dim='x' and axis=0: give one"),
        (lambda: sharedmem.cumsum(GRID), "give axis= or dim="),
        (lambda: sharedmem.sum(two, dim="x"), r"variables \['a', 'b'\] is not one array"),
        (lambda: sharedmem.apply_ufunc(np.add, GRID, pandas.Series([1, 2, 3])), "no common labels"),
        (lambda: sharedmem.apply_ufunc(np.add, GRID, GRID.to_dataset()), "no common labels"),
        (lambda: sharedmem.max(times), "dtype object"),
        (lambda: sharedmem.var(GRID, axis=0, mean=GRID.mean("x", keepdims=True)), "mean has"),
    ]:
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(ValueError, match="'z' not found in array dimensions"):
        sharedmem.sum(GRID, dim="z")
    with pytest.raises(ValueError, match="must be equal: align"):
        sharedmem.apply_ufunc(np.add, GRID.to_dataset(), GRID.to_dataset(name="other"))


def test_all_axes_and_axes_that_are_kept():
    check(sharedmem.sum(GRID, dim=...), GRID.sum(...))
    kept = sharedmem.quantile(GRID, [0.0, 1.0], dim="y", keepdims=True)
    assert kept.sizes == {"quantile": 2, "x": 2, "y": 1}
    assert kept.sel(quantile=1, x=2).item() == 5


def test_weights_and_masks():
    weights = xarray.DataArray([3.0, 1.0], {"x": [1, 2]}, "x")
    average = sharedmem.average(GRID, weights=weights, dim="x")
    xarray.testing.assert_allclose(average, GRID.weighted(weights).mean("x"))
    assert average.name == "grid"
    mask = GRID > 1
    xarray.testing.assert_identical(
        sharedmem.sum(GRID, dim="y", where=mask), GRID.where(mask, 0).sum("y")
    )
    out = np.empty(3)
    assert sharedmem.sum(GRID, dim="x", out=out) is out
    assert sharedmem.sum(np.arange(6.0).reshape(2, 3), where=mask) == 14


class Length(np.ndarray):
    """An array with a unit, as that of astropy, which xarray keeps."""

    def __array_function__(self, func, types, args, kwargs):
        plain = [np.asarray(a) if isinstance(a, Length) else a for a in args]
        return np.asarray(func(*plain, **kwargs)).view(Length)


def test_units_are_kept_or_refused():
    array = xarray.DataArray(np.arange(3.0), dims="x", name="way")
    array.variable._data = np.arange(3.0).view(Length)
    total = sharedmem.sum(array, dim="x")
    assert isinstance(total.data, Length)
    assert (total.name, float(total)) == ("way", 3)
    with pytest.raises(TypeError, match="units"):
        sharedmem.cumsum(array)


def test_encodings_of_files_do_not_stay_with_other_values():
    packed = GRID.copy()
    packed.encoding = {"dtype": "i2", "scale_factor": 0.1}
    for result in (sharedmem.apply_ufunc(np.sqrt, packed), sharedmem.cumsum(packed, dim="x")):
        assert result.encoding == {}
