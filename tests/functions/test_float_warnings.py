"""Functions warn of overflows and invalid values as NumPy does."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import sharedmem

INF, NAN, BIG = np.inf, np.nan, 1e308
NAMES = [
    "sum", "prod", "mean", "var", "std", "average", "cumsum", "cumprod",
    "nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nancumsum", "nancumprod",
]  # fmt: skip
PEERS = {"norm": np.linalg.norm}
CASES = {
    "finite": ([1.0, 2.0], set()),
    "overflow": ([BIG] * 3, {"overflow"}),
    "invalid": ([INF, -INF, 1.0], {"invalid"}),
    "NaN": ([NAN, INF, -INF], set()),
    "infinity": ([INF, 1.0, 2.0], set()),
    "infinity and zero": ([INF, 0.0, 2.0], set()),
}


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=256)


def warned(function, *args, **options):
    """Return the kinds of floating-point errors that a call warns of."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(over="warn", invalid="warn"):
        warnings.simplefilter("always")
        function(*args, **options)
    return {str(warning.message).split()[0] for warning in caught}


def spread(values, dtype, n=100):
    """Return an array of ones in several chunks, with the values spread over it."""
    a = np.ones(n, dtype)
    a[:: n // len(values) + 1][: len(values)] = values
    return a


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_warnings_match_numpy(name, case):
    a = spread(CASES[case][0], "f8")
    expected = warned(getattr(np, name), a)
    with np.errstate(all="ignore"):
        if np.isfinite(getattr(sharedmem, name)(a)).all():
            expected = set()  # NumPy overflows in a partial result
    for layout in (a, np.stack([a, np.ones_like(a)]), np.stack([np.ones_like(a), a], 1)):
        axis = None if layout.ndim == 1 else layout.shape.index(len(a))
        assert warned(getattr(sharedmem, name), layout, axis=axis) == expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_warnings_of_sums(case, dtype):
    values, kinds = CASES[case]
    a = spread(values, dtype)
    assert warned(sharedmem.sum, a) == kinds
    assert warned(sharedmem.sum, a[::-1].reshape(4, 25), axis=(0, 1)) == kinds
    assert warned(sharedmem.sum, a, where=np.isfinite(a)) == kinds - {"invalid"}
    assert warned(sharedmem.sum, np.stack([a, a]), axis=0) <= kinds | {"overflow"}


def test_warnings_of_dot_products_averages_and_norms():
    ones = np.ones(100)
    assert warned(sharedmem.dot, spread([BIG, BIG], "f8"), ones) == {"overflow"}
    assert warned(sharedmem.dot, spread([INF, -INF], "f8"), ones) == {"invalid"}
    assert warned(sharedmem.dot, spread([NAN, INF], "f8"), ones) == set()
    assert warned(sharedmem.dot, ones, spread([INF], "f8")) == set()
    assert warned(sharedmem.average, spread([BIG, BIG], "f8"), weights=2 * ones) == {"overflow"}
    assert warned(sharedmem.norm, spread([BIG] * 9, "f8")) == {"overflow"}
    assert warned(sharedmem.norm, spread([INF], "f8"), 1) == set()


def test_nonfinite_initial_values_are_not_warned_of():
    assert warned(sharedmem.sum, np.ones(3), initial=INF) == set()
    assert warned(sharedmem.sum, np.ones((3, 3)), axis=0, initial=INF) == set()
    assert warned(sharedmem.prod, np.ones((3, 3)), axis=0, initial=INF) == set()
    assert warned(sharedmem.nanprod, np.ones(3), initial=NAN) == set()
    assert warned(sharedmem.var, np.ones(1), ddof=1) == {"Degrees"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["over", "invalid"])
def test_errors_are_raised_or_reported_as_errstate_says(name, kind):
    a = spread([BIG, BIG, BIG] if kind == "over" else [INF, -INF], "f8")
    a = a if "prod" not in name or kind == "over" else spread([INF, 0.0], "f8")
    result = getattr(sharedmem, name)
    with np.errstate(all="ignore"):
        if np.isfinite(result(a)).all():
            return
    with np.errstate(**{kind: "raise"}), pytest.raises(FloatingPointError, match="encountered in"):
        result(a)
    calls = []
    with np.errstate(**{kind: "call"}, call=lambda text, flag: calls.append((text, flag))):
        result(a)
    assert calls == [("overflow", 2) if kind == "over" else ("invalid value", 8)]


def test_warnings_point_at_the_line_of_the_caller():
    with pytest.warns(RuntimeWarning, match="overflow encountered in reduce") as caught:
        sharedmem.sum([BIG, BIG])
    assert caught[0].filename == __file__


@settings(max_examples=40)
@given(
    a=hnp.arrays(
        "f8",
        hnp.array_shapes(max_dims=2, max_side=30),
        elements=st.sampled_from([1.0, -2.0, INF, -INF, NAN, BIG, -BIG, 0.0]),
    ),
    axis=st.sampled_from([None, 0, -1]),
)
@pytest.mark.parametrize("name", ["sum", "mean", "var", "nansum", "cumsum"])
def test_no_warning_that_numpy_does_not_issue(name, a, axis):
    kinds = warned(getattr(sharedmem, name), a, axis=axis) & {"overflow", "invalid"}
    with np.errstate(all="ignore"):
        result, expected = (getattr(module, name)(a, axis=axis) for module in (sharedmem, np))
    if np.array_equal(result, expected, equal_nan=True):  # NumPy adds in another order
        assert not kinds or warned(getattr(np, name), a, axis=axis)
    if np.isfinite(a).all():
        assert bool(kinds) == (not np.isfinite(result).all())
