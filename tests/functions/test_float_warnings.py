"""What makes results infinite or NaN is told as NumPy tells it."""

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


def told(function, *args, **options):
    """The kinds of errors that a call warns of."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(over="warn", invalid="warn"):
        warnings.simplefilter("always")
        function(*args, **options)
    return {str(warning.message).split()[0] for warning in caught}


def spread(values, dtype, n=100):
    """The values among ones, in several chunks."""
    a = np.ones(n, dtype)
    a[:: n // len(values) + 1][: len(values)] = values
    return a


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_warnings_are_numpys(name, case):
    a = spread(CASES[case][0], "f8")
    expected = told(getattr(np, name), a)
    with np.errstate(all="ignore"):
        if np.isfinite(getattr(sharedmem, name)(a)).all():
            expected = set()  # where NumPy overflows on the way
    for layout in (a, np.stack([a, np.ones_like(a)]), np.stack([np.ones_like(a), a], 1)):
        axis = None if layout.ndim == 1 else layout.shape.index(len(a))
        assert told(getattr(sharedmem, name), layout, axis=axis) == expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_sums_of_any_type(case, dtype):
    values, kinds = CASES[case]
    a = spread(values, dtype)
    assert told(sharedmem.sum, a) == kinds
    assert told(sharedmem.sum, a[::-1].reshape(4, 25), axis=(0, 1)) == kinds
    assert told(sharedmem.sum, a, where=np.isfinite(a)) == kinds - {"invalid"}
    assert told(sharedmem.sum, np.stack([a, a]), axis=0) <= kinds | {"overflow"}


def test_products_of_two_arrays():
    ones = np.ones(100)
    assert told(sharedmem.dot, spread([BIG, BIG], "f8"), ones) == {"overflow"}
    assert told(sharedmem.dot, spread([INF, -INF], "f8"), ones) == {"invalid"}
    assert told(sharedmem.dot, spread([NAN, INF], "f8"), ones) == set()
    assert told(sharedmem.dot, ones, spread([INF], "f8")) == set()
    assert told(sharedmem.average, spread([BIG, BIG], "f8"), weights=2 * ones) == {"overflow"}
    assert told(sharedmem.norm, spread([BIG] * 9, "f8")) == {"overflow"}
    assert told(sharedmem.norm, spread([INF], "f8"), 1) == set()


def test_what_is_started_from_is_excused():
    assert told(sharedmem.sum, np.ones(3), initial=INF) == set()
    assert told(sharedmem.sum, np.ones((3, 3)), axis=0, initial=INF) == set()
    assert told(sharedmem.prod, np.ones((3, 3)), axis=0, initial=INF) == set()
    assert told(sharedmem.nanprod, np.ones(3), initial=NAN) == set()
    assert told(sharedmem.var, np.ones(1), ddof=1) == {"Degrees"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["over", "invalid"])
def test_errors_that_are_asked_for(name, kind):
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


def test_the_line_that_warned_is_the_callers():
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
def test_nothing_is_told_that_numpy_does_not_tell(name, a, axis):
    kinds = told(getattr(sharedmem, name), a, axis=axis) & {"overflow", "invalid"}
    with np.errstate(all="ignore"):
        result, expected = (getattr(module, name)(a, axis=axis) for module in (sharedmem, np))
    if np.array_equal(result, expected, equal_nan=True):  # NumPy adds in another order
        assert not kinds or told(getattr(np, name), a, axis=axis)
    if np.isfinite(a).all():
        assert bool(kinds) == (not np.isfinite(result).all())
