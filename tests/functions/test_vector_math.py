"""Functions in expressions: accurate, of NumPy's special values, and the same in any place."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem import elementwise, fusing, vector_math

# Where they are defined, between which numbers or around how large ones.
DOMAINS = {
    "exp": (-80, 80), "expm1": (-17, 80), "log": (1e-30, 1e30), "log1p": (-0.99, 1e30),
    "log2": (1e-30, 1e30), "log10": (1e-30, 1e30), "sin": (-100, 100), "cos": (-100, 100),
    "tan": (-100, 100), "arcsin": (-1, 1), "arccos": (-1, 1), "arctan": (-100, 100),
    "sinh": (-80, 80), "cosh": (-80, 80), "tanh": (-9, 9), "arcsinh": (-1e30, 1e30),
    "arccosh": (1, 1e30), "arctanh": (-0.999, 0.999), "arctan2": (-1e3, 1e3),
    "hypot": (-1e10, 1e10), "power": (1e-3, 1e3),
}  # fmt: skip
ULPS = 4
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, -2, 3, 88.8, -104, 710, -750, 1e22]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(elementwise, "PIECE", 16)


@pytest.fixture
def without_vectors(monkeypatch):
    monkeypatch.setattr(vector_math, "_library", lambda: None)
    vector_math._address.cache_clear()
    fusing._fuse.cache_clear()
    yield
    vector_math._address.cache_clear()
    fusing._fuse.cache_clear()


def evaluate(name, *arguments):
    """Apply a function by an expression."""
    arrays = dict(zip("ab", arguments, strict=False))
    return sharedmem.evaluate(f"{name}({', '.join(arrays)})", **arrays)


def by_numpy(name, *arguments):
    with np.errstate(all="ignore"):
        return getattr(np, name)(*arguments)


def arguments_of(name, dtype):
    """Draw numbers where a function is defined: evenly, and by their size."""
    low, high = DOMAINS[name]
    rng = np.random.default_rng(0)
    evenly = rng.uniform(low, high, (2, 4000))
    by_size = np.clip(np.exp(rng.uniform(-30, 30, (2, 4000))), low, high)
    drawn = np.concatenate([evenly, by_size], axis=1).astype(dtype)
    if name == "power":
        drawn[1] = rng.uniform(-10, 10, 8000)
    return drawn[: 2 if name in ("arctan2", "hypot", "power") else 1]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", DOMAINS)
def test_functions_are_within_four_units_of_the_last_place(name, dtype):
    drawn = arguments_of(name, dtype)
    wide = {"f4": "f8", "f8": "g"}[dtype]
    exact = by_numpy(name, *drawn.astype(wide))
    errors = np.abs(evaluate(name, *drawn) - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert errors.max() <= ULPS


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", DOMAINS)
def test_special_values_are_numpys(name, dtype):
    values = np.array(SPECIAL, dtype)
    pairs = [x.ravel() for x in np.meshgrid(values, values)]
    drawn = pairs if name in ("arctan2", "hypot", "power") else [np.resize(values, 32)]
    result, expected = evaluate(name, *drawn), by_numpy(name, *drawn)
    np.testing.assert_allclose(result, expected, rtol=2 * ULPS * np.finfo(dtype).eps, atol=0)
    is_number = ~np.isnan(expected)
    assert (np.signbit(result) == np.signbit(expected))[is_number].all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_results_that_are_whole_are_exact(dtype):
    base, exponent = (x.ravel() for x in np.meshgrid(np.arange(1, 17), np.arange(6)))
    powers = evaluate("power", base.astype(dtype), exponent.astype(dtype))
    np.testing.assert_array_equal(powers, (base**exponent).astype(dtype))
    exponents = np.arange(-30, 31)
    np.testing.assert_array_equal(evaluate("log2", np.exp2(exponents).astype(dtype)), exponents)
    tens = np.array([float(f"1e{at}") for at in exponents], dtype)
    np.testing.assert_array_equal(evaluate("log10", tens), exponents)


@settings(max_examples=20)
@given(
    name=st.sampled_from(["exp", "sin", "arctan2", "power", "log10"]),
    dtype=st.sampled_from(["f4", "f8"]),
    start=st.integers(0, 40),
    length=st.integers(17, 200),
)
def test_a_result_depends_on_its_element_alone(name, dtype, start, length):
    drawn = arguments_of(name, dtype)
    part = [x[start : start + length] for x in drawn]
    whole = evaluate(name, *drawn)
    np.testing.assert_array_equal(evaluate(name, *part), whole[start : start + length])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_without_the_library_functions_are_numpys_own(without_vectors, dtype):
    for name in DOMAINS:
        drawn = arguments_of(name, dtype)
        np.testing.assert_array_equal(evaluate(name, *drawn), by_numpy(name, *drawn))
