"""Unusual dtypes and arguments: results and errors match NumPy's for small and large arrays."""

import warnings

import cloudpickle
import numpy as np
import pytest

import sharedmem
from sharedmem.functions import numpy_rules
from sharedmem.functions.reduction_rules import Options, Rule, result_dtype

BUILTIN = (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError)
RECORD = np.dtype([("x", "i4"), ("y", "f8")])
# No kernels are compiled for these. The tests of each function have the dtypes of its kernels.
DTYPES = ["M8[s]", "m8[s]", "U3", "T", "O", RECORD]
NUMBERS = ["?", "i4", "f2", "g", ">f8"]
WITHOUT_KERNELS = {"take", "partition", "diff", "clip"}


@pytest.fixture(params=["small", "large"])
def small_or_large(request, tuned):
    """Run a test on arrays of a few elements as small arrays, and as large ones."""
    if request.param == "small":
        return
    tuned(
        chunk_bytes=64,
        shared_line_length=2,
        thread_bytes=64,
        sort_bytes=64,
        sort_run_bytes=64,
        sort_line_bytes=64,
        scan_chunk_bytes=64,
        scan_line_bytes=64,
    )


def numbers(dtype):
    values = np.arange(24).reshape(4, 6) % 7 - (0 if np.dtype(dtype).kind in "bu" else 3)
    if np.dtype(dtype) == RECORD:
        return np.array([[(x, x / 2) for x in row] for row in values.tolist()], RECORD)
    return (values.astype(str) if np.dtype(dtype).kind in "SUT" else values).astype(dtype)


def outcome(function, *args, **options):
    """Return the result of a call, or its error."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*args, **options)
        except Exception as error:
            return error


def difference(result, expected):
    """Return how a result differs from NumPy's, or None if it does not."""
    if isinstance(expected, Exception) or isinstance(result, Exception):
        kinds = [{k for k in BUILTIN if isinstance(x, k)} for x in (result, expected)]
        return None if kinds[0] & kinds[1] else "error"
    if isinstance(expected, tuple):
        return next(filter(None, map(difference, result, expected)), None)
    if isinstance(result, np.ndarray) is not isinstance(expected, np.ndarray):
        return "type"
    result, expected = np.asarray(result), np.asarray(expected)
    if result.dtype != expected.dtype or result.shape != expected.shape:
        return "dtype or shape"
    if expected.dtype.kind in "fc":
        eps = 8 * float(np.finfo(expected.dtype).eps)
        is_same = np.allclose(result, expected, eps, eps, equal_nan=True)
    else:
        is_same = np.array_equal(result, expected)
    return None if is_same else "value"


def assert_same(name, a, *args, **options):
    theirs, ours = getattr(np, name), getattr(sharedmem, name)
    expected = outcome(theirs, a, *args, **{**options, **copied(options)})
    result = outcome(ours, a, *args, **options)
    if isinstance(outcome(theirs, a, *args), Exception) and isinstance(expected, Exception):
        assert isinstance(result, Exception)  # of two faults, it may name the other
        return
    assert not difference(result, expected), (a.dtype, args, options, result, expected)


def copied(options):
    return {"out": np.copy(options["out"])} if isinstance(options.get("out"), np.ndarray) else {}


ROW = np.arange(6)
MASK = np.arange(24).reshape(4, 6) % 3 > 0
AXES = [{}, {"axis": 0}, {"axis": -1}, {"axis": (0, 1)}, {"axis": ()}, {"axis": 2}]
KEPT = [{"axis": 1, "keepdims": True}, {"axis": (1, 1)}]
TYPED = [{"dtype": x} for x in ("?", "i8", "f4", object)] + [{"axis": 0, "dtype": "i4"}]
WHERE = [{"where": MASK}, {"where": ROW % 2 == 0, "axis": 1}]
BEGUN = [{"initial": 3}, {"initial": 0, "axis": 1}, {"initial": 2, "where": MASK}]
OUT = [{"axis": 0, "out": np.zeros(n, x)} for n in (6, 5) for x in ("f8", "f2", "i8")]
OPTIONS = {
    "sum": AXES + KEPT + TYPED + WHERE + BEGUN + OUT,
    "prod": AXES + TYPED + BEGUN,
    "mean": AXES + KEPT + TYPED + WHERE,
    "var": AXES + TYPED + WHERE + [{"ddof": 1, "axis": 1}, {"correction": 30}],
    "std": AXES[:2] + TYPED,
    "min": AXES + KEPT + BEGUN + WHERE + OUT,
    "max": AXES + BEGUN,
    "any": AXES + WHERE + OUT,
    "all": AXES + KEPT,
    "argmin": AXES + KEPT + OUT,
    "count_nonzero": AXES + KEPT,
    "nansum": AXES + TYPED + BEGUN,
    "nanmean": AXES + TYPED,
    "nanmin": AXES + BEGUN,
    "nanvar": AXES[:3] + TYPED,
    "nanargmax": AXES[:3],
    "cumsum": [*AXES[:3], {"dtype": object}, {"axis": 0, "out": np.zeros((4, 6))}],
    "cumprod": [*AXES[:3], {"dtype": object}],
    "nancumsum": [*AXES[:3], {"dtype": object}],
    "median": AXES[:3] + KEPT,
    "sort": [*AXES[:3], {"axis": None}, {"order": "x"}, {"kind": "bad"}, {"axis": 2}],
    "argsort": [{"kind": "stable"}, {"axis": None, "stable": True}, {"order": "y"}],
    "unique": [{}, {"return_index": True, "return_inverse": True}, {"return_counts": True}],
    "diff": [{}, {"n": 2}, {"axis": 0, "prepend": 0}, {"n": -1}, {"append": 1.5}, {"axis": 3}],
    "average": [{}, {"weights": MASK}, {"axis": 1, "weights": ROW, "returned": True}],
    "histogram": [{}, {"bins": [0, 1, 3]}, {"bins": 0}, {"range": (2, 0)}, {"weights": MASK}],
    "nonzero": [{}],
    "clip": [
        *({"a_min": x, "a_max": y} for x, y in ((1, 3), (None, 2), (2.5, 3), (-1, 2**70))),
        *({"min": 1, "max": 3, "out": np.zeros((4, 6), x)} for x in "efdl"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ["any", "all"])
@pytest.mark.parametrize("dtype", ["U3", "f8", "M8[s]"])
def test_any_and_all_store_results_in_object_arrays(name, dtype):
    a = numbers(dtype)
    for _ in range(300):  # NumPy crashes after some calls
        out = np.zeros(6, object)
        result = getattr(sharedmem, name)(a, axis=0, out=out)
        assert result is out
        assert out.tolist() == getattr(np, name)(a, axis=0).tolist()
    with pytest.raises(ValueError, match="shape"):
        getattr(sharedmem, name)(a, axis=0, out=np.zeros(5, object))


@pytest.mark.usefixtures("small_or_large")
@pytest.mark.parametrize("name", OPTIONS)
def test_options_match_numpy(name):
    for dtype in DTYPES + NUMBERS * (name in WITHOUT_KERNELS):
        a = numbers(dtype)
        for options in OPTIONS[name]:
            assert_same(name, a, **options)


ARGUMENTS = {
    "take": [(i, x) for i in ([0, 1], [[0], [-1]], 3, [9]) for x in (None, 0, 3)],
    "partition": [(k, x) for k in (0, [1, 2], 100, 1.5) for x in (None, 0, -1)],
    "quantile": [(q, x) for q in (0.5, [0.1, 0.9], 2, [[0.5]]) for x in (None, 0)],
    "nanquantile": [(0.5,), ([0.1, 0.9], 1)],
    "dot": [(np.arange(6.0),), (2,), (ROW[:5],)],
}


@pytest.mark.usefixtures("small_or_large")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_match_numpy(name):
    for dtype in DTYPES + NUMBERS * (name in WITHOUT_KERNELS):
        a = numbers(dtype)
        for args in ARGUMENTS[name]:
            assert_same(name, a, *args)
        if name == "dot":
            assert_same(name, a.ravel(), a.ravel())


@pytest.mark.parametrize("rule", [x for x in vars(numpy_rules).values() if isinstance(x, Rule)])
def test_reductions_can_be_sent_to_a_cluster(rule):
    for dtype in ("f8", "f4", "i4", "c16", "?", "f2"):
        a = np.zeros((3, 4), dtype)
        own = rule.of(a.dtype)
        if (result := result_dtype(own, a.dtype, None)) is not None:
            cloudpickle.dumps(own.reduction(a, result, Options(axis=0)))
