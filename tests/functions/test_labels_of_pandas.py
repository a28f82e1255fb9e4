"""Functions take Series and DataFrames of pandas, and give them back with their labels."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem

pandas = pytest.importorskip("pandas")

REDUCTIONS = ["sum", "prod", "mean", "var", "std", "min", "max", "median", "any", "all"]
WITHOUT_METHOD = "ptp count_nonzero argmin argmax norm average nansum nanmean nanmax moments minmax"
SCANS = ["cumsum", "cumprod", "nancumsum", "nancumprod"]

LABELS = [
    lambda n: pandas.RangeIndex(3, 3 + n),
    lambda n: pandas.Index(["b", "a", "b", "", "é", "a"][:n], name="text"),
    lambda n: pandas.date_range("2000", periods=n, tz="UTC", name=7),
    lambda n: pandas.MultiIndex.from_arrays([[1, 1, 2, 2, 1, 1][:n], [*"xyxyxy"][:n]]),
    lambda n: pandas.CategoricalIndex([*"lmhhll"][:n]),
]
NUMBERS = {
    "f8": st.sampled_from([-2.0, 0.0, 1.0, 3.0, np.nan, np.inf]),
    "f4": st.integers(-3, 3),
    "i8": st.integers(-3, 3) | st.just(2**53 + 1),
    "i2": st.integers(-3, 3),
    "?": st.booleans(),
}


@st.composite
def frames(draw, dtypes=tuple(NUMBERS)):
    n_rows, n_columns = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    columns = []
    for _ in range(n_columns):
        dtype = draw(st.sampled_from(dtypes))
        values = draw(st.lists(NUMBERS[dtype], min_size=n_rows, max_size=n_rows))
        columns.append(pandas.Series(np.array(values, dtype)))
    frame = pandas.concat(columns, axis=1)
    frame.index = draw(st.sampled_from(LABELS))(n_rows)
    frame.columns = draw(st.sampled_from(LABELS))(n_columns)
    frame.attrs = {"source": "drawn"}
    return frame


def plain(frame, dtype=None):
    """Return the elements in the common dtype of the columns."""
    return frame.to_numpy(dtype or np.result_type(*frame.dtypes))


def columns_by_dtype(frame):
    """Yield the places of columns that have the same dtype, and their elements."""
    for dtype in dict.fromkeys(frame.dtypes):
        places = [at for at, other in enumerate(frame.dtypes) if other == dtype]
        yield places, frame.iloc[:, places].to_numpy()


def check_columns(result, frame, call):
    """Compare each column with that of a call on the columns of its dtype."""
    for places, values in columns_by_dtype(frame):
        expected = call(values)
        for at, column in zip(places, expected.T, strict=True):
            found = result.iloc[:, at] if result.ndim == 2 else result.iloc[at]
            np.testing.assert_array_equal(np.asarray(found), column)
            if result.ndim == 2:
                assert found.dtype == column.dtype


@pytest.mark.filterwarnings("ignore")  # NaN and infinity
@settings(max_examples=40)
@given(frames(), st.sampled_from(REDUCTIONS + WITHOUT_METHOD.split()), st.sampled_from([0, 1]))
def test_reductions_of_frames(frame, name, axis):
    function = getattr(sharedmem, name)
    try:
        result = function(frame, axis=axis)
    except TypeError:  # of booleans, as NumPy's
        assert np.dtype(bool) in {*frame.dtypes}
        assert name in ("ptp", "moments", "norm", "median")
        return
    expected = frame.astype(float).sum(axis=axis) * 0
    if name in REDUCTIONS and name not in ("prod", "median"):
        options = {"ddof": 0} if name in ("var", "std") else {}
        by_pandas = getattr(frame, name)(axis=axis, **options)
        pandas.testing.assert_index_equal(by_pandas.index, expected.index)
    results = result if isinstance(result, tuple) else (result,)
    for at, part in enumerate(results):

        def call(values, at=at):
            value = function(values, axis=axis)
            return value[at] if isinstance(result, tuple) else value

        assert type(part) is pandas.Series
        assert part.name is None
        assert part.attrs == frame.attrs
        pandas.testing.assert_index_equal(part.index, expected.index, exact=True)
        if axis == 0:
            check_columns(part, frame, call)
        else:
            np.testing.assert_array_equal(part.to_numpy(), call(plain(frame)))
    if not isinstance(result, tuple):
        everything = function(frame)
        np.testing.assert_array_equal(everything, function(plain(frame)))
        assert not hasattr(everything, "index")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40)
@given(frames(), st.sampled_from([*SCANS, "diff", "clip", "where", "digitize", "apply_ufunc"]),
       st.sampled_from([0, 1]))  # fmt: skip
def test_scans_and_elementwise_functions_of_frames(frame, name, axis):
    calls = {
        "clip": lambda a: sharedmem.clip(a, -1, 2),
        "where": lambda a: sharedmem.where(True, a, a),
        "digitize": lambda a: sharedmem.digitize(a, [-1, 0, 2]),
        "apply_ufunc": lambda a: sharedmem.apply_ufunc(np.exp2, a),
    }
    call = calls.get(name, lambda a: getattr(sharedmem, name)(a, axis=axis))
    result = call(frame)
    expected = frame
    if name == "diff":
        expected = frame.iloc[1:] if axis == 0 else frame.iloc[:, 1:]
    assert type(result) is pandas.DataFrame
    assert result.attrs == frame.attrs
    pandas.testing.assert_index_equal(result.index, expected.index, exact=True)
    pandas.testing.assert_index_equal(result.columns, expected.columns, exact=True)
    if name in calls or (axis == 0 and name not in calls):
        check_columns(result, frame, call)
    else:
        np.testing.assert_array_equal(result.to_numpy(), call(plain(frame)))
    series = frame.iloc[:, 0].rename("first")
    found = call(series) if name in calls else getattr(sharedmem, name)(series)
    values = series.to_numpy()
    by_hand = call(values) if name in calls else getattr(sharedmem, name)(values)
    expected = pandas.Series(by_hand, series.index[name == "diff" :], name="first")
    pandas.testing.assert_series_equal(found, expected)


@settings(max_examples=20)
@given(frames(["f8", "i2"]), st.sampled_from([None, 0, 1]), st.sampled_from([0.25, [0.5], [0, 1]]))
def test_quantiles_are_labeled_as_those_of_pandas(frame, axis, q):
    frame = frame.replace([np.inf], 9.0).fillna(1.0)
    for series in (frame.iloc[:, 0].rename("first"), *([frame] if axis is not None else [])):
        options = {} if series.ndim == 1 else {"axis": axis}
        found = sharedmem.quantile(series, q, **options)
        expected = series.quantile(q, **options)
        if isinstance(q, list):
            kind = "series" if series.ndim == 1 else "frame"
            getattr(pandas.testing, f"assert_{kind}_equal")(found, expected, check_dtype=False)
        elif series.ndim == 2:
            pandas.testing.assert_series_equal(found, expected, check_dtype=False)
        else:
            assert found == expected
    several = sharedmem.percentile(frame, [25, 75])
    assert several.index.tolist() == [25, 75]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=20)
@given(frames(["f8", "i2"]), st.data())
def test_arrays_that_are_broadcast_must_have_equal_labels(frame, data):
    row = pandas.Series(np.arange(frame.shape[1]), index=frame.columns)
    same = frame.copy()
    for other in (row, same):
        found = sharedmem.apply_ufunc(np.subtract, frame, other)
        pandas.testing.assert_frame_equal(found, pandas.DataFrame(
            {at: frame.iloc[:, at] - np.asarray(other)[..., at] for at in range(frame.shape[1])}
        ).set_axis(frame.columns, axis=1), check_dtype=False)  # fmt: skip
    mask = frame > 0
    found = sharedmem.sum(frame, axis=0, where=mask)
    expected = sharedmem.sum(frame, axis=0, where=mask.to_numpy())
    pandas.testing.assert_series_equal(found, expected)
    order = data.draw(st.permutations(range(len(frame))))
    other = frame.iloc[order]
    if other.index.equals(frame.index):
        return
    with pytest.raises(ValueError, match="must be equal: align"):
        sharedmem.apply_ufunc(np.subtract, frame, other)
    with pytest.raises(ValueError, match="the labels of where are"):
        sharedmem.sum(frame, axis=0, where=mask.iloc[order])


PAIRS = {
    "dot b": lambda a, b: sharedmem.dot(a, b),
    "vdot b": lambda a, b: sharedmem.vdot(a, b),
    "compress condition": lambda a, b: sharedmem.compress(b, a),
    "bincount weights": lambda a, b: sharedmem.bincount(a, b),
    "histogram weights": lambda a, b: sharedmem.histogram(a, 3, weights=b),
    "histogram2d y": lambda a, b: sharedmem.histogram2d(a, b, 3),
    "group_reduce by": lambda a, b: sharedmem.group_reduce(a, b, func="sum"),
    "histogram2d weights": lambda a, b: sharedmem.histogram2d(a, a, 3, weights=b),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_functions_of_pairs_without_labels_need_equal_labels(pair):
    a = pandas.Series([1, 2, 0], index=[*"abc"])
    call, name = PAIRS[pair], pair.split()[1]
    with pytest.raises(ValueError, match=f"labels of {name} are"):
        call(a, pandas.Series([3, 0, 1], index=[*"bac"]))
    expected = call(a.to_numpy(), np.array([3, 0, 1]))
    for b in (pandas.Series([3, 0, 1], index=[*"abc"]), np.array([3, 0, 1])):
        np.testing.assert_equal(call(a, b), expected)


def test_weights_have_the_labels_of_the_axis():
    frame = pandas.DataFrame({"x": [1, 2, 6], "y": [0.5, 0.5, 2]}, index=[*"abc"])
    weights = pandas.Series([3, 2, 1], index=frame.index)
    average, total = sharedmem.average(frame, axis=0, weights=weights, returned=True)
    assert average.to_dict() == {"x": 13 / 6, "y": 0.75}
    assert total.to_dict() == {"x": 6, "y": 6}
    with pytest.raises(ValueError, match="labels of weights"):
        sharedmem.average(frame, axis=0, weights=weights[::-1])


def test_names_of_results():
    a, b = pandas.Series([1.0, 2.0], name="a"), pandas.Series([3.0, 5.0], name="b")
    assert sharedmem.apply_ufunc(np.add, a, a).name == "a"
    assert sharedmem.apply_ufunc(np.add, a, b).name is None
    whole, rest = sharedmem.apply_ufunc(np.modf, a)
    assert (whole.name, rest.name) == ("a", "a")
    assert sharedmem.where(a > 1, a, 0).tolist() == [0, 2]


def test_nullable_and_sparse_columns_without_missing_values_are_numbers():
    numbers = {"x": pandas.array([1, 2], "Int64"), "y": pandas.arrays.SparseArray([0.0, 3.0])}
    frame = pandas.DataFrame(numbers)
    assert sharedmem.sum(frame, axis=0).to_dict() == {"x": 3, "y": 3}
    assert sharedmem.cumsum(frame, axis=0).dtypes.tolist() == [np.int64, np.float64]
    assert sharedmem.sum(frame) == 6


def test_times():
    times = pandas.Series(pandas.to_datetime(["2001", "2000"]), index=["a", "b"], name="t")
    assert sharedmem.min(times) == np.datetime64("2000")
    later = sharedmem.diff(times)
    assert later.index.tolist() == ["b"]
    assert later.iloc[0] == times["b"] - times["a"]
    frame = pandas.DataFrame({"t": times, "x": [1.0, 2.0]})
    assert sharedmem.max(frame, axis=0).tolist() == frame.max(axis=0).tolist()
    with pytest.raises(TypeError, match="no common dtype"):
        sharedmem.max(frame, axis=1)


REFUSED = {
    "NA": (pandas.Series([1, None], dtype="Int64"), "missing values"),
    "nested NA": (pandas.DataFrame({"x": [1], "y": pandas.array([None], "Float64")}), "missing"),
    "categories": (pandas.Series([1, 2], dtype="category"), "dtype category"),
    "objects": (pandas.DataFrame({"x": [1], "y": [object()]}), "column 'y' has dtype object"),
    "text": (pandas.Series(["a", "b"]), "has dtype"),
    "zone": (pandas.Series(pandas.to_datetime(["2000"]).tz_localize("UTC")), "has dtype datetime"),
    "period": (pandas.Series(pandas.period_range("2000", periods=2)), "has dtype period"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_numpy_has_no_dtype_for_is_refused_by_name(kind):
    given, message = REFUSED[kind]
    calls = [sharedmem.sum, sharedmem.cumsum, sharedmem.argmax]
    for call in [*calls, lambda a: sharedmem.clip(a, 0, 1), lambda a: sharedmem.quantile(a, 0.5)]:
        with pytest.raises(TypeError, match=message):
            call(given)


class Meters(pandas.api.extensions.ExtensionDtype):
    """A dtype with a unit, as that of pint-pandas."""

    name, type, kind = "meters", float, "f"

    @classmethod
    def construct_array_type(cls):
        return Lengths


class Lengths(pandas.api.extensions.ExtensionArray):
    dtype = Meters()

    def __len__(self):
        return 2

    def __array__(self, dtype=None, copy=None):
        return np.ones(2)

    def __getitem__(self, item):
        return 1.0

    def isna(self):
        return np.zeros(2, bool)

    def copy(self):
        return self


@pytest.mark.parametrize("name", ["sum", "sort", "cumsum", "unique"])
def test_units_of_columns_are_refused_by_name(name):
    for lengths in (pandas.Series(Lengths()), pandas.DataFrame({"x": Lengths(), "y": [1.0, 2]})):
        with pytest.raises(TypeError, match=r"dtype meters of a .* units"):
            getattr(sharedmem, name)(lengths)


def test_options_without_labels():
    frame = pandas.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})
    out = np.empty(2)
    assert sharedmem.sum(frame, axis=1, out=out) is out
    assert out.tolist() == [4, 6]
    for call, message in [
        (lambda: sharedmem.sum(frame, axis=0, keepdims=True), "keepdims=True would leave"),
        (lambda: sharedmem.cumsum(frame), "give axis="),
        (lambda: sharedmem.sum(frame, dim="x"), "dim='x' names axes of xarray's arrays"),
        (lambda: sharedmem.sum(frame.to_numpy(), dim="x"), "dim names axes of xarray's arrays"),
        (lambda: sharedmem.sum(frame["x"], out=frame["x"]), "out has labels"),
        (lambda: sharedmem.var(frame["x"], mean=frame["x"]), "mean has labels"),
        (lambda: sharedmem.diff(frame["x"], prepend=0), "prepend has no labels"),
        (lambda: sharedmem.quantile(frame["x"], [[0.5]]), "q has 2 axes"),
    ]:
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(ValueError, match="the result has shape"):
        sharedmem.apply_ufunc(np.add, frame["x"], np.ones((2, 2)))
    with pytest.raises(np.exceptions.AxisError):
        sharedmem.sum(frame["x"], axis=1)


def test_pools_and_functions_that_are_no_table_of_labels():
    series = pandas.Series([3.0, 1.0, 2.0], index=[*"abc"], name="s")
    with sharedmem.MapReduce(np=2) as pool:
        roots = pool.apply_ufunc(np.sqrt, series)
        assert isinstance(pool.reduce(sharedmem.kernels.sums.add("f8", "f8"), series), float)
        assert sharedmem.cumsum(series).to_dict() == {"a": 3, "b": 4, "c": 6}
    pandas.testing.assert_series_equal(roots, np.sqrt(series))
    for result in (sharedmem.sort(series), sharedmem.take(series, [0])):
        assert type(result) is np.ndarray


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=20)
@given(frames(["f8", "i2"]))
def test_expressions(frame):
    columns = {f"c{at}": frame.iloc[:, at] for at in range(frame.shape[1])}
    for text in ("c0 * 2", f"c0 - c{len(columns) - 1}"):
        found = sharedmem.evaluate(text, columns)
        first, last = frame.iloc[:, 0], frame.iloc[:, -1]
        expected = first * 2 if "*" in text else first - last.set_axis(first.index)
        pandas.testing.assert_series_equal(found, expected, check_names=False, check_dtype=False)
    results = sharedmem.evaluate({"double": "2 * x", "count": "count_nonzero(x)"}, x=frame)
    pandas.testing.assert_frame_equal(results["double"], frame.astype(float) * 2, check_dtype=False)
    assert results["count"] == np.count_nonzero(plain(frame))
    row = pandas.Series(np.arange(frame.shape[1]), index=frame.columns)
    found = sharedmem.evaluate("x + row", x=frame, row=row)
    np.testing.assert_array_equal(found, plain(frame) + row.to_numpy())
    with pytest.raises(ValueError, match=r"the result has shape \(1, "):
        sharedmem.evaluate("sum(x, axis=0, keepdims=True)", x=pandas.concat([frame, frame]))
    if len(frame) > 1 and not frame.index[::-1].equals(frame.index):
        with pytest.raises(ValueError, match="the labels of y are"):
            sharedmem.evaluate("x - y", x=frame, y=frame[::-1])


class Table(pandas.DataFrame):
    """A subclass, as pandas documents them."""

    @property
    def _constructor(self):
        return Table


def test_subclasses_stay():
    table = Table({"x": [1.0, 2.0], "y": [3, 4]})
    for result in (sharedmem.cumsum(table, axis=0), sharedmem.clip(table, 0, 1)):
        assert type(result) is Table
    assert type(sharedmem.sum(table, axis=0)) is pandas.Series


def test_frames_without_rows_or_columns():
    for n_rows, n_columns in itertools.product([0, 2], [0, 3]):
        frame = pandas.DataFrame(np.ones((n_rows, n_columns)))
        for axis in (0, 1):
            pandas.testing.assert_series_equal(
                sharedmem.sum(frame, axis=axis), frame.sum(axis=axis), check_index_type=False
            )
        assert sharedmem.cumsum(frame, axis=0).shape == frame.shape
