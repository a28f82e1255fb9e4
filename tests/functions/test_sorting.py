"""Sorting equals NumPy's, however arrays are cut."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import sharedmem
from tests.functions.comparing import WORKERS, results_of_workers, same_bits
from tests.functions.lines import DTYPES, NUMBERS, hard_line
from tests.kernels.strategies import arrays, dtypes

several = settings(max_examples=15)


@pytest.fixture(autouse=True)
def small_pieces(tuned):
    tuned(sort_bytes=1, sort_run_bytes=64, sort_piece_bytes=128, sort_line_bytes=256)


@pytest.mark.parametrize("kind", [None, "stable"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sort_of_long_lines(dtype, kind):
    a = hard_line(dtype)
    results = results_of_workers(lambda: sharedmem.sort(a, kind=kind))
    expected = np.sort(a, kind="stable")
    np.testing.assert_array_equal(results[0], expected)
    assert results[0].dtype == a.dtype
    if dtype != "g":  # whose padding is undefined
        assert same_bits(results)
        if kind:
            assert same_bits([results[0], expected])


@pytest.mark.parametrize("dtype", DTYPES)
def test_argsort_of_long_lines(dtype):
    a = hard_line(dtype)
    results = results_of_workers(lambda: sharedmem.argsort(a))
    np.testing.assert_array_equal(results[0], np.argsort(a, kind="stable"))
    assert same_bits(results)
    assert results[0].dtype == np.intp


@pytest.mark.parametrize("name", ["sort", "argsort"])
@several
@given(a=arrays(dtypes=NUMBERS), data=st.data())
def test_any_axis_of_any_array(name, a, data):
    axis = data.draw(st.none() | st.integers(-a.ndim, a.ndim - 1)) if a.ndim else None
    result = getattr(sharedmem, name)(a, axis, stable=True)
    expected = getattr(np, name)(a, axis, stable=True)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == expected.dtype
    assert type(result) is np.ndarray


@several
@given(
    a=hnp.arrays(
        st.sampled_from(dtypes("f8", "i8", "u2", others=("u8", "f4"))),
        st.integers(1, 300),
        elements={"allow_subnormal": True},
    ),
    n_workers=st.sampled_from(WORKERS),
)
def test_argsort_of_any_numbers(a, n_workers):
    with sharedmem.MapReduce(np=n_workers):
        np.testing.assert_array_equal(sharedmem.argsort(a), np.argsort(a, kind="stable"))
        np.testing.assert_array_equal(sharedmem.sort(a), np.sort(a))


def test_argsort_of_keys_with_common_bits():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 1000, 3000).astype(np.int64)
    a[0] = 2**62
    np.testing.assert_array_equal(sharedmem.argsort(a), np.argsort(a, kind="stable"))
    a = 1 + rng.permutation(3000) * 2.0**-52
    a[0] = -1e300
    np.testing.assert_array_equal(sharedmem.argsort(a), np.argsort(a))


@several
@given(a=arrays(dtypes=NUMBERS), data=st.data())
def test_sort_with_out(a, data):
    axis = data.draw(st.integers(-a.ndim, a.ndim - 1)) if a.ndim else None
    if axis is None:
        return
    expected = np.sort(a, axis)
    out = np.empty_like(a)
    assert sharedmem.sort(a, axis, out=out) is out
    np.testing.assert_array_equal(out, expected)
    itself = a.copy(order="K")
    assert sharedmem.sort(itself, axis, out=itself) is itself
    np.testing.assert_array_equal(itself, expected)


def test_sort_with_overlapping_out():
    a = np.random.default_rng(0).normal(size=500)
    expected = np.sort(a[:-1])
    np.testing.assert_array_equal(sharedmem.sort(a[:-1], out=a[1:]), expected)
    shared = sharedmem.copy(a)
    assert type(sharedmem.sort(shared, out=shared)) is sharedmem.SharedArray
    assert type(sharedmem.sort(shared)) is np.ndarray


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.empty(3), ValueError),
        (np.empty(4, "f4"), TypeError),
        ([0.0] * 4, TypeError),
        (np.broadcast_to(0.0, 4), ValueError),
    ],
)
def test_invalid_out_raises(out, error):
    with pytest.raises(error, match="out"):
        sharedmem.sort(np.ones(4), out=out)


def test_sort_of_structured_arrays():
    a = np.zeros(100, [("x", "i4"), ("y", "f8")])
    a["x"], a["y"] = np.arange(100) % 7, -np.arange(100)
    for order in (None, "y", ["x", "y"]):
        np.testing.assert_array_equal(sharedmem.sort(a, order=order), np.sort(a, order=order))
        np.testing.assert_array_equal(sharedmem.argsort(a, order=order), np.argsort(a, order=order))


@pytest.mark.parametrize("name", ["sort", "argsort"])
@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((np.ones(3), 1), {}, np.exceptions.AxisError),
        ((np.ones(3),), {"kind": "bogus"}, ValueError),
        ((np.ones(3),), {"kind": "stable", "stable": True}, ValueError),
        ((np.ones(3),), {"order": "x"}, ValueError),
    ],
)
def test_invalid_input_raises_as_in_numpy(name, arguments, options, error):
    with pytest.raises(error):
        getattr(np, name)(*arguments, **options)
    with pytest.raises(error):
        getattr(sharedmem, name)(*arguments, **options)


@several
@given(a=arrays(dtypes=("f8", "i2", "f2", "c16")), data=st.data())
def test_partition(a, data):
    axis = data.draw(st.none() | st.integers(-a.ndim, a.ndim - 1)) if a.ndim else None
    n = a.size if axis is None else a.shape[axis]
    kth = data.draw(st.integers(-n, n - 1))
    result = sharedmem.partition(a, kth, axis)
    expected = np.partition(a, kth, axis)
    at = -1 if axis is None else axis
    np.testing.assert_array_equal(np.take(result, kth, at), np.take(expected, kth, at))
    np.testing.assert_array_equal(np.sort(result, at), np.sort(expected, at))


@st.composite
def nearly_sorted(draw, dtype):
    """Draw a line of ascending and descending runs, with ties, zeros of both signs, and NaN."""
    values = [0, 1, 2, 5] if dtype.kind == "u" else [-3, -1, 0, 1, 2, 5]
    if dtype.kind == "f":
        values += [-0.0, np.nan, np.inf]
    pool = st.lists(st.sampled_from(values), max_size=40)
    runs = [
        np.sort(np.array(draw(pool), dtype), kind="stable")[:: draw(st.sampled_from([1, 1, -1]))]
        for _ in range(draw(st.integers(1, 4)))
    ]
    if draw(st.booleans()):  # strictly descending
        runs.append(np.arange(draw(st.integers(0, 100)), dtype=dtype)[::-1])
    if draw(st.booleans()):
        runs.append(np.sort(np.resize(np.array(values, dtype), 90), kind="stable"))
    a = np.concatenate(runs)
    if a.size and draw(st.booleans()):  # a few elements out of order
        a = np.sort(np.resize(a, draw(st.integers(1, 400))), kind="stable")
        few = draw(st.lists(st.integers(0, len(a) - 1), max_size=10))
        a[few] = draw(hnp.arrays(dtype, len(few), elements=st.sampled_from(values)))
    return a


@pytest.mark.parametrize("dtype", dtypes("f8", "i2", "M8[s]", others=("f4", "u8")))
@settings(max_examples=60)
@given(data=st.data(), n_workers=st.sampled_from([1, 3]), limit=st.sampled_from([1, 3, 32]))
def test_nearly_sorted_lines(tuned, dtype, data, n_workers, limit):
    dtype = np.dtype(dtype)
    a = data.draw(nearly_sorted(np.dtype("i8") if dtype.kind == "M" else dtype)).astype(dtype)
    if dtype.kind == "M":
        a[a == np.datetime64(-3, "s")] = "NaT"
    tuned(natural_runs=limit)
    with sharedmem.MapReduce(np=n_workers):
        in_place = a.copy()
        results = [
            sharedmem.sort(a),
            sharedmem.sort(a[::-1])[::1],
            sharedmem.sort(in_place, out=in_place),
        ]
        order = sharedmem.argsort(a, kind="stable")
        backwards = sharedmem.argsort(a[::-1], kind="stable")
        middle = sharedmem.quantile(a, 0.5, method="lower") if a.size else None
    expected = np.sort(a, kind="stable")
    assert same_bits([results[0], results[2], expected])
    assert same_bits([results[1], np.sort(a[::-1], kind="stable")])
    np.testing.assert_array_equal(order, np.argsort(a, kind="stable"))
    np.testing.assert_array_equal(backwards, np.argsort(a[::-1], kind="stable"))
    if a.size:
        np.testing.assert_array_equal(middle, np.quantile(a, 0.5, method="lower"))


@pytest.mark.parametrize("dtype", ["f8", "i2", "M8[s]"])
@pytest.mark.parametrize("n_values", [2, 40, 1000])
def test_descending_lines_with_ties(dtype, n_values):
    a = np.random.default_rng(0).integers(0, n_values, 1000).astype("i8").astype(dtype)
    if dtype == "f8":
        a[::7], a[1::9], a[2::9] = np.nan, 0.0, -0.0
    a = np.sort(a, kind="stable")[::-1].copy()
    orders = results_of_workers(lambda: sharedmem.argsort(a))
    lines = results_of_workers(lambda: sharedmem.sort(a))
    assert same_bits([*orders, np.argsort(a, kind="stable")])
    assert same_bits([*lines, np.sort(a, kind="stable")])


@pytest.mark.parametrize("dtype", DTYPES)
def test_lines_that_rise_and_fall_with_ties(dtype):
    line = np.sort(hard_line(dtype), kind="stable")
    half, steps = line[::2], np.repeat(line[::50], 40)
    lines = [
        line,
        steps[::-1],
        np.concatenate([half, half[::-1]]),
        np.concatenate([half[::-1], half]),
        np.concatenate([steps, steps[::-1], steps]),
        np.concatenate([line[at::8] for at in range(8)]),
        np.full_like(line, line[0]),
        np.full_like(line, line[-1]),
    ]
    for a in lines:
        orders = results_of_workers(lambda a=a: sharedmem.argsort(a))
        assert same_bits([*orders, np.argsort(a, kind="stable")])
        results = results_of_workers(lambda a=a: sharedmem.sort(a))
        np.testing.assert_array_equal(results[0], np.sort(a, kind="stable"))
        if dtype != "g":  # whose padding is undefined
            assert same_bits([*results, np.sort(a, kind="stable")])


@pytest.mark.parametrize("dtype", ["?", "u1", "i1"])
@pytest.mark.parametrize("n", [1, 127, 128, 129, 1001])
def test_sort_of_bytes(dtype, n):
    a = np.random.default_rng(n).integers(0, 256, n).astype("u1").view("i1").astype(dtype)
    for line in (a, np.sort(a), a[::-1], a[::2], np.full_like(a, a[0])):
        np.testing.assert_array_equal(sharedmem.sort(line), np.sort(line), strict=True)
        expected = np.argsort(line, kind="stable")
        np.testing.assert_array_equal(sharedmem.argsort(line), expected, strict=True)
        for result, wanted in zip(
            sharedmem.unique(line, return_inverse=True, return_counts=True),
            np.unique(line, return_inverse=True, return_counts=True),
            strict=True,
        ):
            np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_empty_arrays(shape):
    a = np.empty(shape)
    for axis in (*range(a.ndim), None):
        assert sharedmem.sort(a, axis).shape == np.sort(a, axis).shape
        assert sharedmem.argsort(a, axis).shape == np.argsort(a, axis).shape
