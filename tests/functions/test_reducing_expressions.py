"""Expressions with reductions: the bits of the package's functions, and NumPy's rules."""

import warnings

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import sharedmem
from sharedmem.expressions import expression as expressions
from sharedmem.expressions.language import REDUCTIONS
from sharedmem.functions import expression_plans
from tests.functions.comparing import assert_like, same_bits, with_workers
from tests.kernels.strategies import arrays

MEANING = {name: getattr(np, name) for name in ("where", "sqrt", "abs", "minimum")}
PARTS = ("a * b", "a - b / 3", "where(a > b, a, b)", "a < b", "a", "sqrt(a)", "2")
DTYPES = ("f8", "f4", "i2", "?", "c16", "f2", "g", ">f8")


@pytest.fixture(autouse=True)
def pieces(request, tuned):
    """Compute in kernels what is larger than one element, unless a test asks for NumPy."""
    tuned(expression_piece_length=getattr(request, "param", 1), thread_bytes=1)


def value_of(call, *args, **options):
    """Return the result of a call without its warnings, or the class of its error."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return call(*args, **options)
    except (TypeError, ValueError) as error:
        return type(error)


def may_overflow(factors):
    """Return whether the product of some factors may be too large for their dtype."""
    factors = np.asarray(factors)
    if factors.dtype.kind not in "fc":
        return False
    sizes = np.nan_to_num(np.abs(factors).astype("g"), nan=1.0).clip(1)
    return np.log(sizes).sum() > np.log(np.finfo(factors.dtype).max.astype("g")) - 1


def with_one_nan(result):
    """Return a result whose NaN all have the same bits: their signs are undefined."""
    result = np.array(result)
    if result.dtype.kind in "fc":
        result[np.isnan(result)] = np.nan
    return result


def text_of(name, part, **options):
    return f"{name}({', '.join([part, *(f'{key}={value}' for key, value in options.items())])})"


@st.composite
def calls(draw):
    """The name of a reduction, what is reduced, options that fit both, and arrays."""
    name, part = draw(st.sampled_from(sorted(REDUCTIONS))), draw(st.sampled_from(PARTS))
    a = draw(arrays(dtypes=DTYPES, min_side=0))
    b = draw(arrays(dtypes=DTYPES))
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        b = np.arange(a.size).reshape(a.shape, order="F")
    ndim = max(b.ndim * ("b" in part), a.ndim * ("a" in part))
    axis = draw(st.none() | hnp.valid_tuple_axes(ndim, max_size=ndim))
    options = {"axis": axis[0] if axis and len(axis) == 1 else axis}
    options["keepdims"] = draw(st.booleans())
    if "arg" in name and isinstance(axis, tuple):
        options["axis"] = axis[0] if axis else None
    if name.endswith(("var", "std")) and draw(st.booleans()):
        options["ddof"] = draw(st.integers(0, 3))
    return name, part, options, {"a": a, "b": b}


@pytest.mark.parametrize("pieces", [1, 1 << 16], indirect=True)
@given(call=calls())
@settings(max_examples=60)
def test_results_are_those_of_the_functions_and_of_numpy(pieces, call):
    name, part, options, given_arrays = call
    used = {key: value for key, value in given_arrays.items() if key in part.replace("abs", "")}
    whole = value_of(sharedmem.evaluate, part, **used)
    result = value_of(sharedmem.evaluate, text_of(name, part, **options), **used)
    if isinstance(whole, type):  # boolean subtract
        assert result is whole
        return
    expected = value_of(getattr(sharedmem, name), whole, **options)
    if isinstance(expected, type):
        assert issubclass(result, expected)
        return
    assert same_bits([*map(with_one_nan, (result, expected))])
    by_numpy = value_of(getattr(np, name), np.asarray(whole), **options)
    # The order of factors counts where they may overflow, and NumPy adds squares in float16.
    is_half = np.asarray(by_numpy).dtype == np.float16
    if not (may_overflow(whole) if name.endswith("prod") else is_half and np.isinf(by_numpy).any()):
        assert_like(result, by_numpy)
    assert isinstance(result, np.ndarray) is isinstance(by_numpy, np.ndarray)


A = np.random.default_rng(0).normal(size=(40, 30))
FUNCTIONS = {name: getattr(sharedmem, name) for name in REDUCTIONS}


@pytest.mark.parametrize(
    "expression",
    [
        "sum(a*b) / sqrt(sum(a*a) * sum(b*b))",
        "a - mean(a, axis=0)",
        "a / sum(abs(a), 1, keepdims=True)",
        "sum((a - mean(a))**2) / count_nonzero(a < 9)",
        "max(mean(a*b, axis=0))",
        "where(a > mean(a), 1, 0)",
        "sum(sum(sum(a, axis=0) * b[0]))",
        "argmax(a - min(a)) + argmin(a)",
        "std(a, axis=-1, ddof=1) * mean(a, axis=(1,))",
        "ptp(a) > 2 * nanstd(a * b)",
        "sum(a*b, axis=None) + prod(2 * (a > 0) - 1)",
        "any(a > 3) | all(a < 9)",
        "mean(a) + 2",
        "max(a, axis=0) - min(a, axis=0)",
    ],
)
def test_reductions_may_stand_anywhere(expression):
    arrays = {"a": A, "b": A[:, ::-1] + 1}
    expression = expression.replace("b[0]", "row")
    arrays = {**arrays, "row": A[0]}
    used = {key: value for key, value in arrays.items() if key in expression.replace("abs", "")}
    result = with_workers(lambda: sharedmem.evaluate(expression, **used))
    expected = eval(expression, MEANING | FUNCTIONS, arrays)
    assert_like(result, np.asarray(expected))


def test_parts_are_computed_once(monkeypatch):
    counted = []
    compute = expressions.Expression.fill

    def fill(self, operands, out):
        counted.append((self.__name__, out.size))
        compute(self, operands, out)

    monkeypatch.setattr(expressions.Expression, "fill", fill)
    monkeypatch.setattr(expressions.Expression, "in_registers", lambda *_: None)
    means = {"su": "std(u*v)", "mu": "mean(u*v)", "z": "(mean(u*v) - mean(u)) / std(u*v)"}
    results = sharedmem.evaluate(means, u=A, v=A.T.copy().T + 1)
    assert list(results) == ["su", "mu", "z"]
    assert results["z"] == (results["mu"] - sharedmem.mean(A)) / results["su"]
    assert sum(size for _, size in counted) == 2 * A.size


def test_several_expressions():
    u, v = A, A + 1
    both = {"uv": "mean(u*v)", 3: "u + v", "top": "max(abs(v), axis=1)"}
    results = sharedmem.evaluate(both, {"v": v, "w": None}, u=u)
    assert [*results] == [*both]
    assert results["uv"] == sharedmem.mean(u * v)
    np.testing.assert_array_equal(results[3], u + v)
    np.testing.assert_array_equal(results["top"], np.abs(v).max(axis=1))
    listed = sharedmem.evaluate(tuple(both.values()), u=u, v=v)
    assert isinstance(listed, list)
    assert same_bits([listed, [*results.values()]])
    assert sharedmem.evaluate(["sum(u)"], u=u) == [sharedmem.sum(u)]


def test_numbers_and_arrays_without_axes():
    assert sharedmem.evaluate("sum(3)") == 3
    assert sharedmem.evaluate("mean(k) + max(2 * k)", k=2.5) == 7.5
    for name in sorted(REDUCTIONS):
        result = sharedmem.evaluate(f"{name}(k, keepdims=True)", k=np.array(2, "f4"))
        assert_like(result, getattr(np, name)(np.array(2, "f4")))
    assert np.isnan(sharedmem.evaluate("std(k, ddof=1)", k=np.float64(2)))


def test_results_have_the_types_of_numpy():
    a = np.ones(5, "f4")
    assert sharedmem.evaluate("a * sum(a)", a=a).dtype == np.float32
    assert sharedmem.evaluate("a * mean(b)", a=a, b=a.astype(int)).dtype == np.float64
    assert sharedmem.evaluate("sum(b)", b=a.astype("i1")).dtype == np.int64


def test_out(monkeypatch):
    out = np.empty(30)
    assert sharedmem.evaluate("mean(a, axis=0)", a=A, out=out) is out
    np.testing.assert_array_equal(out, sharedmem.mean(A, axis=0))
    monkeypatch.setattr(expression_plans, "reduce_computed", None)  # before any work
    with pytest.raises(ValueError, match="cannot be broadcast"):
        sharedmem.evaluate("mean(2 * a, axis=1)", a=A, out=out)
    with pytest.raises(TypeError, match=r"out is for the result of one expression, got list of 2"):
        sharedmem.evaluate(["sum(a)", "a"], a=A, out=out)


@pytest.mark.parametrize("pieces", [1, 1 << 16], indirect=True)
def test_there_are_no_warnings(pieces):
    nan = np.full((4, 5), np.nan)
    empty = np.empty((0, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("mean", "var", "nanmean", "nanstd", "nanmax", "sum", "max"):
            assert np.isnan(sharedmem.evaluate(f"{name}(a + 1, axis=0)", a=nan)).all()
        for name in ("mean", "var", "nanmean", "nanstd"):
            assert np.isnan(sharedmem.evaluate(f"{name}(a * 2, axis=0)", a=empty)).all()
        assert np.isinf(sharedmem.evaluate("var(a, axis=0, ddof=9)", a=A[:5])).all()
        assert sharedmem.evaluate("sum(a * 1e308 * 10)", a=abs(A)) == np.inf


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("sum(a, axis=2)", r"'sum\(a, axis=2\)' cannot .*axis 2 is out of bounds .*dimension 2"),
        ("sum(mean(a, axis=0), axis=1)", "axis 1 is out of bounds for array of dimension 1"),
        ("sum(a, axis=(0, -2))", "repeated axis"),
        ("sum(a, axis=9999999999999999999)", "cannot be evaluated"),
        ("sum(a, axis=k)", "axis must be an integer, a tuple of integers, or None, got 'k'"),
        ("sum(a, axis=(0, None))", "axis must be an integer"),
        ("sum(a, axis=True)", "axis must be an integer"),
        ("sum(a, axis=0.0)", "axis must be an integer"),
        ("sum(a, keepdims=1)", "keepdims must be True or False, got '1'"),
        ("var(a, ddof=None)", "ddof must be a number"),
        ("sum(a, ddof=1)", "ddof is not an option; sum takes axis, keepdims"),
        ("std(a, where=a)", "where is not an option; std takes axis, keepdims, ddof"),
        ("sum(a, **a)", r"\*\* is not an option"),
        ("sum(a, 0, axis=0)", "axis is given twice"),
        ("sum(a, a, a)", "sum takes an array, and then the axis; got 3 arguments"),
        ("sum()", "got 0 arguments"),
        ("sum(*a)", "got 1 arguments, which must not have"),
        ("argmax(a, axis=(0, 1))", "axis of argmax must be an integer or None"),
        ("a - mean(a, axis=1)", r"a has shape \(4, 5\), mean\(a, axis=1\) has shape \(4,\)"),
        ("sum(a * mean(a, axis=1))", r"'sum\(a \* mean.* cannot be broadcast .*; keepdims=True"),
        ("median(a)", "median is not one of the functions abs, all, any,"),
        ("sum.reduce(a)", "not one of the functions"),
    ],
)
def test_errors_come_before_any_work(monkeypatch, expression, message):
    monkeypatch.setattr(expression_plans, "reduce_computed", None)
    with pytest.raises(ValueError, match=message):
        sharedmem.evaluate({"first": "sum(a * 2)", "second": expression}, a=np.ones((4, 5)))


def test_errors_of_values():
    with pytest.raises(ValueError, match="zero-size"):
        sharedmem.evaluate("min(a + 1)", a=np.empty(0))
    with pytest.raises(ValueError, match="All-NaN"):
        sharedmem.evaluate("nanargmin(a + 1)", a=np.full(3, np.nan))
    with pytest.raises(TypeError, match="boolean"):
        sharedmem.evaluate("ptp(a > 1)", a=A)


@pytest.mark.parametrize("expression", [{}, [], ()])
def test_no_expressions(expression):
    with pytest.raises(ValueError, match="no expression is given"):
        sharedmem.evaluate(expression)


def test_expressions_are_texts():
    with pytest.raises(TypeError, match="an expression must be a str, got int"):
        sharedmem.evaluate({"a": "1", "b": 2})
    with pytest.raises(TypeError, match="must be a str, or a mapping or a list of them, got set"):
        sharedmem.evaluate({"a"})


@pytest.mark.parametrize("pool", [sharedmem.MapReduce, sharedmem.MapReduceByThread])
def test_files_are_reduced_chunk_by_chunk(tmp_path, tuned, pool):
    tuned(chunk_bytes=1 << 10)
    np.save(tmp_path / "b.npy", A[0])
    with h5py.File(tmp_path / "a.h5", "w") as file, pool(np=2):
        given_arrays = {
            "a": file.create_dataset("a", data=A, chunks=(8, 16)),
            "b": np.load(tmp_path / "b.npy", mmap_mode="r"),
        }
        wanted = ["mean(a*b)", "max(a - mean(a, axis=0), axis=1)", "any(b*a > 2)", "nanstd(a+b)"]
        wanted += ["argmax(a*b)", "argmin(a*b, axis=0)"]
        results = sharedmem.evaluate(wanted, given_arrays)
        for text, result in zip(wanted, results, strict=True):
            assert_like(
                result, np.asarray(sharedmem.evaluate(text, {"a": A, "b": A[0]})), rtol=1e-12
            )
        with pytest.raises(ValueError, match="out of bounds"):
            sharedmem.evaluate("sum(a, axis=2)", given_arrays)
        empty = file.create_dataset("empty", (0, 3), "f8")
        assert sharedmem.evaluate("sum(a + 1, axis=0)", a=empty).tolist() == [0, 0, 0]
        assert np.isnan(sharedmem.evaluate("nanmean(a + 1)", a=empty))
