"""All reductions against NumPy's, over dtypes, orders, strides and axes."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem.engine.reduce import reduce
from sharedmem.engine.runners import run_serially
from sharedmem.kernels import Reduction, counts, extrema, moments, nan_reductions, sums, variances
from sharedmem.kernels.loops import pieces
from sharedmem.machine.native_threads import run
from tests.kernels.strategies import arrays_and_axes, dtypes

several = settings(max_examples=100)


def shuffled(seed):
    """Return a runner that runs tasks in a random order, as workers do."""

    def run(func, sequence):
        results = [None] * len(sequence)
        for at in np.random.default_rng(seed).permutation(len(sequence)):
            results[at] = func(sequence[at])
        return results

    return run


def assert_same(result, expected):
    assert type(result) is type(expected)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def sum_reduction(a):
    return sums.add(a.dtype, np.add.reduce(np.zeros(1, a.dtype)).dtype)


@several
@given(case=arrays_and_axes(), keepdims=st.booleans())
def test_sum_is_numpys(case, keepdims):
    a, axis = case
    expected = np.sum(a, axis=axis, keepdims=keepdims)
    assert_same(reduce(run_serially, sum_reduction(a), a, axis, keepdims), expected)


@several
@given(case=arrays_and_axes(dtypes=("f8", "i2", "?", "f2", "g", ">f8")), keepdims=st.booleans())
def test_extrema_are_numpys(case, keepdims):
    a, axis = case
    smallest, largest = reduce(run_serially, extrema.minmax(a.dtype), a, axis, keepdims)
    assert_same(smallest, np.min(a, axis=axis, keepdims=keepdims))
    assert_same(largest, np.max(a, axis=axis, keepdims=keepdims))


@several
@given(case=arrays_and_axes(dtypes=dtypes("f8", "i2", "c16", ">f8", others=("?",))))
def test_count_nonzero_is_numpys(case):
    a, axis = case
    result = reduce(run_serially, counts.count_nonzero(a.dtype), a, axis)
    np.testing.assert_array_equal(result, np.count_nonzero(a, axis=axis))


@several
@given(case=arrays_and_axes(dtypes=dtypes("f8", "c16", "g", others=("i2",))))
def test_variance_is_numpys(case):
    a, axis = case
    expected = np.var(a, axis=axis)
    result = reduce(run_serially, variances.variance(a.dtype, expected.dtype), a, axis)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@several
@given(case=arrays_and_axes(dtypes=("f8", "i2")), seed=st.integers(0, 2**32))
def test_bits_do_not_depend_on_the_order_of_execution(case, seed):
    a, axis = case
    a = a / 3
    for reduction in (
        sums.add("f8", "f8"),
        variances.variance("f8", "f8"),
        moments.extended("f8"),
        extrema.minmax("f8"),
    ):
        first = reduce(run_serially, reduction, a, axis)
        again = reduce(shuffled(seed), reduction, a, axis)
        np.testing.assert_array_equal(np.array(first), np.array(again))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((9000,), 0),
        ((3, 4000), 1),
        ((700, 50), 1),
        ((900, 3), 0),
        ((90, 150), 0),
        ((5, 90, 7), 1),
        ((900, 3), 1),
        ((3, 900), 0),
    ],
)
def test_threads_share_lines_and_columns(shape, axis, monkeypatch):
    for name, value in {"PIECE": 1100, "AREA": 100, "HEIGHT": 20, "WIDTH": 64}.items():
        monkeypatch.setattr(pieces, name, value)
    a = np.random.default_rng(0).integers(-40, 41, shape) / 4
    assert_all_numpys(a, axis)
    a += 1 / 3
    for reduction in (sums.add("f8", "f8"), variances.variance("f8", "f8"), extrema.maximum("f8")):
        for order in "CF":
            x = np.asarray(a, order=order)
            alone, *together = (
                reduce(run_serially, reduction, x, axis, share=partial(run, n_threads=n))
                for n in (1, 2, 5)
            )
            for result in together:
                np.testing.assert_array_equal(result, alone)


@pytest.mark.parametrize("n", [3, 36, 100, 2000])
def test_no_line_depends_on_another(n):
    a = np.random.default_rng(n).normal(size=(70, n))
    far = a + 1e9 * np.arange(n)
    far[::3] = np.nan
    far[5] = a[5]
    for reduction in (sums.add("f8", "f8"), variances.variance("f8", "f8"), moments.summary("f8")):
        for axis in (0, 1):
            among = [
                reduce(run_serially, reduction, x.T if axis == 0 else x, axis) for x in (a, far)
            ]
            alone, again = (np.array(result)[..., 5] for result in among)
            np.testing.assert_array_equal(alone, again)


@pytest.mark.parametrize("n", [1, 7, 64, 65, 1000, 4097])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_elements_follow_numpy(n, value):
    for at in {0, n // 2, n - 1}:
        a = np.ones(n)
        a[at] = value
        assert_same(reduce(run_serially, sums.add("f8", "f8"), a), np.sum(a))
        assert_same(reduce(run_serially, extrema.maximum("f8"), a), np.max(a))
        assert_same(reduce(run_serially, extrema.minimum("f8"), a), np.min(a))
    assert np.isnan(reduce(run_serially, sums.add("f8", "f8"), np.array([np.inf, -np.inf])))


@pytest.mark.parametrize(
    "dtype", dtypes("f8", "i2", others=("?", "f2", "i1", "u4", "i8", "u8", "f4"))
)
def test_lines_and_columns_of_all_lengths(dtype):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2 if dtype in ("?", "f2") else 40, (1300, 150)).astype(dtype)
    line = numbers.ravel()
    for n in (127, 1023, 1024, 1025, 1151, 1152, 1279, 33_000):
        assert_all_numpys(line[3 : n + 3], None)
    for rows, columns in ((7, 64), (8, 65), (15, 128), (17, 150), (1300, 80)):
        assert_all_numpys(numbers[:rows, :columns], 0)


def assert_all_numpys(a, axis):
    smallest, largest = reduce(run_serially, extrema.minmax(a.dtype), a, axis)
    assert_same(smallest, np.min(a, axis))
    assert_same(largest, np.max(a, axis))
    assert_same(reduce(run_serially, sum_reduction(a), a, axis), np.sum(a, axis))
    count = reduce(run_serially, counts.count_nonzero(a.dtype), a, axis)
    np.testing.assert_array_equal(count, np.count_nonzero(a, axis))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_any_element_may_be_nan(axis):
    for at in np.random.default_rng(1).permutation(40 * 1100)[:50]:
        a = np.arange(40.0 * 1100).reshape(40, 1100)
        a.flat[at] = np.nan
        assert_all_numpys(a, axis)
        result = reduce(run_serially, nan_reductions.minimum(a.dtype), a, axis)
        np.testing.assert_array_equal(result, np.nanmin(a, axis))
        result = reduce(run_serially, nan_reductions.add(a.dtype, a.dtype), a, axis)
        np.testing.assert_array_equal(result, np.nansum(a, axis))


STATES = {
    "sum": (sums.add("f8", "f8"), 1e-15),
    "variance": (variances.variance("f8", "f8"), 1e-11),
    "moments": (moments.extended("f8"), 1e-9),
    "minmax": (extrema.minmax("f8"), 0),
    "count_nonzero": (counts.count_nonzero("f8"), 0),
}


@pytest.mark.parametrize("name", STATES)
@several
@given(
    values=st.lists(
        st.lists(st.integers(-999, 999), min_size=1, max_size=9), min_size=3, max_size=3
    )
)
def test_states_combine_associatively(name, values):
    reduction, rtol = STATES[name]
    a, b, c = (reduction.chunk(np.array(part, "f8").reshape(1, -1, 1)) for part in values)
    left = reduction.combine(reduction.combine(a, b), c)
    right = reduction.combine(a, reduction.combine(b, c))
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * 1e12)


@pytest.mark.parametrize("name", ["sum", "moments", "count_nonzero"])
def test_the_identity_changes_nothing(name):
    reduction, _ = STATES[name]
    state = reduction.chunk(np.array([3.0, 0.0, 5.0]).reshape(1, -1, 1))
    nothing = tuple(
        np.full_like(part, value) for part, value in zip(state, reduction.identity, strict=True)
    )
    for sides in ((state, nothing), (nothing, state)):
        for one, other in zip(reduction.combine(*sides), state, strict=True):
            np.testing.assert_array_equal(one, other)


def test_reductions_of_lines_are_made_by_name_and_by_position():
    def chunk(x):
        return (x.sum(1),)

    def combine(a, b):
        return (a[0] + b[0],)

    a = np.arange(12.0).reshape(3, 4)
    for lined in (
        Reduction(chunk, combine, lambda state: state[0], (0.0,), True),
        Reduction(chunk, combine, lambda state: state[0], (0.0,), lines=True),
    ):
        np.testing.assert_array_equal(sharedmem.reduce(lined, a, axis=0), a.sum(0))


def test_a_class_of_reductions_of_chunks_takes_no_lines():
    class Mine(Reduction):
        pass

    assert Mine(len, max).chunk is len
    with pytest.raises(TypeError, match="Mine is not a reduction of lines: derive it from"):
        Mine(len, max, lines=True)
