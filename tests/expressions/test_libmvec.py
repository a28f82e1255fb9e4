"""Functions in expressions: accurate, of NumPy's special values, and the same in any place."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem.expressions import libmvec
from tables import vector_functions

ULPS = 4
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, -2, 3, 88.8, -104, 710, -750, 1e22]


@pytest.fixture(autouse=True)
def small_pieces(tuned):
    tuned(expression_piece_length=16)


@pytest.fixture
def without_vectors(monkeypatch, without_kernels):
    monkeypatch.setattr(libmvec, "_library", lambda: None)
    libmvec._address.cache_clear()
    yield
    libmvec._address.cache_clear()


def evaluate(name, *arguments):
    """Apply a function by an expression."""
    arrays = dict(zip("ab", arguments, strict=False))
    return sharedmem.evaluate(f"{name}({', '.join(arrays)})", **arrays)


def by_numpy(name, *arguments):
    with np.errstate(all="ignore"):
        return getattr(np, name)(*arguments)


def arguments_of(name, dtype):
    """Draw numbers where a function is defined: evenly, and by their size."""
    return vector_functions.arguments_of(name, dtype, 8000)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", vector_functions.DOMAINS)
def test_functions_are_within_four_units_of_the_last_place(name, dtype):
    drawn = arguments_of(name, dtype)
    assert vector_functions.errors(name, drawn, evaluate(name, *drawn)) <= ULPS


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", vector_functions.DOMAINS)
def test_special_values_are_numpys(name, dtype):
    values = np.array(SPECIAL, dtype)
    pairs = [x.ravel() for x in np.meshgrid(values, values)]
    drawn = pairs if name in ("arctan2", "hypot", "power") else [np.resize(values, 32)]
    result, expected = evaluate(name, *drawn), by_numpy(name, *drawn)
    np.testing.assert_allclose(result, expected, rtol=2 * ULPS * np.finfo(dtype).eps, atol=0)
    is_number = ~np.isnan(expected)
    assert (np.signbit(result) == np.signbit(expected))[is_number].all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_results_that_are_whole_are_exact(dtype):
    """On each processor; the arrays are small and large, which NumPy and kernels compute."""
    limits = np.finfo(dtype)
    bases, exponents = (x.ravel() for x in np.meshgrid(np.arange(-300, 301) / 2, np.arange(40)))
    is_exact = np.abs(2 * bases) ** exponents < 2.0**limits.nmant
    base, exponent = bases[is_exact].astype(dtype), exponents[is_exact].astype(dtype)
    twos = np.arange(limits.minexp, limits.maxexp)
    tens = np.arange(1 + int(np.log10(limits.tiny)), 1 + int(np.log10(limits.max)))
    squares = np.arange(min(4000, 2 ** (limits.nmant // 2)))
    for take in (np.s_[:], np.s_[-16:]):
        for result, expected in [
            (
                evaluate("power", base[take], exponent[take]),
                (base.astype("g") ** exponent).astype(dtype),
            ),
            (evaluate("log2", np.exp2(twos.astype("g")).astype(dtype)[take]), twos),
            (evaluate("log10", np.array([float(f"1e{n}") for n in tens], dtype)[take]), tens),
            (evaluate("sqrt", (squares**2).astype(dtype)[take]), squares),
        ]:
            np.testing.assert_array_equal(result, expected[take])


@pytest.mark.parametrize(("current", "is_used"), [("X86_V3", True), ("X86_V4", False)])
def test_where_numpy_has_loops_for_avx512_they_are_used(monkeypatch, current, is_used):
    introspect = pytest.importorskip("numpy.lib.introspect")
    told = {"exp": {"dd": {"current": current, "available": "X86_V4 X86_V3"}}}
    monkeypatch.setattr(introspect, "opt_func_info", lambda **_: told)
    libmvec._is_left_to_numpy.cache_clear()
    f4, f8 = np.dtype("f4"), np.dtype("f8")
    assert libmvec._is_left_to_numpy("exp", f8) is not is_used
    assert libmvec._is_left_to_numpy("sin", f4)
    assert not libmvec._is_left_to_numpy("sin", f8)
    libmvec._is_left_to_numpy.cache_clear()


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
    for name in vector_functions.DOMAINS:
        drawn = arguments_of(name, dtype)
        expected = by_numpy(name, *drawn)
        if (name, dtype) == ("log10", "f4"):
            expected = np.log10(*drawn, dtype="f8").astype("f4")
        np.testing.assert_array_equal(evaluate(name, *drawn), expected)
