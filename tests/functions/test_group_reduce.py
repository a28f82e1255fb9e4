"""Reductions of groups: against NumPy's functions of the elements of each group."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import zarr
from hypothesis import given, settings, strategies as st
from zarr.core.sync import cleanup_resources

import sharedmem
from sharedmem.functions.group_rules import NAMES

Array = np.ndarray[Any, Any]
SOME = np.random.default_rng(5)


def by_loop(a: Array, codes: Array, n_groups: int, function: Callable[[Array], Any]) -> Array:
    """Return a function of the elements of each group of each line; `codes` label the last axis."""
    parts = [function(a[..., codes == group]) for group in range(n_groups)]
    return np.stack(parts, axis=-1)


def numpys(name: str) -> Callable[[Array], Any]:
    plain = name.removeprefix("nan")
    if plain in ("first", "last"):
        return lambda x: x[..., 0 if plain == "first" else -1]
    if plain == "count":
        return lambda x: np.count_nonzero(x == x, axis=-1)
    if plain == "quantile":
        return lambda x: getattr(np, name)(x, 0.3, axis=-1)
    return lambda x: getattr(np, name)(x, axis=-1)


def options(name: str) -> dict[str, Any] | None:
    return {"q": 0.3} if name.endswith("quantile") else None


VALUES = [name for name in NAMES if "arg" not in name]


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i2", "u1", "u8", "?", ">f8", "g"])
@pytest.mark.parametrize("name", VALUES)
def test_functions_of_numpy(name: str, dtype: str) -> None:
    a = SOME.uniform(0, 4, (2, 24)).astype(dtype)
    codes = np.arange(24) * 7 % 4
    if "?" in dtype and name.endswith(("median", "quantile")):
        pytest.skip("NumPy does not subtract bools")
    found, labels = sharedmem.group_reduce(a, codes, func=name, finalize_kwargs=options(name))
    expected = by_loop(a, codes, 4, numpys(name))
    precision = np.finfo(found.dtype).eps if found.dtype.kind == "f" else 0
    np.testing.assert_allclose(found, expected, rtol=20 * precision)
    assert found.dtype == expected.dtype
    assert labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["argmin", "argmax", "nanargmin", "nanargmax"])
def test_indices_are_those_in_the_line(name: str) -> None:
    a = SOME.integers(0, 5, (3, 50)).astype(float)
    a[:, 10] = np.nan
    codes = SOME.integers(0, 3, 50)
    found, _ = sharedmem.group_reduce(a, codes, func=name)
    for line, group in np.ndindex(found.shape):
        places = np.flatnonzero(codes == group)
        assert found[line, group] == places[getattr(np, name)(a[line, places])]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("is_missing", [False, True])
def test_nan(name: str, is_missing: bool) -> None:
    a = SOME.normal(size=(3, 40))
    a[SOME.random(a.shape) < 0.3] = np.nan
    codes = np.repeat([0, 1], 20)
    if is_missing:
        a[:, :20] = np.nan
    if name in ("nanfirst", "nanlast"):
        pytest.skip("NumPy has no such function")
    found, _ = sharedmem.group_reduce(a, codes, func=name, finalize_kwargs=options(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = by_loop(a, codes, 2, numpys(name))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_first_and_last_elements_that_are_not_nan() -> None:
    a = np.array([np.nan, 1, 2, np.nan, np.nan])
    for name, expected in {"nanfirst": [1, np.nan], "nanlast": [2, np.nan]}.items():
        found, _ = sharedmem.group_reduce(a, [0, 0, 0, 0, 1], func=name)
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_means_of_any_layout(data: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=7))
    n_by = data.draw(st.integers(1, len(shape)))
    order = data.draw(st.permutations(range(len(shape))))
    a = SOME.normal(size=[shape[axis] for axis in np.argsort(order)]).transpose(order)
    if data.draw(st.booleans()):
        a = a[::-1]
    labels = SOME.integers(-1, 3, a.shape[len(shape) - n_by :])
    reduced = data.draw(st.sets(st.integers(len(shape) - n_by, len(shape) - 1), min_size=1))
    found, _ = sharedmem.group_reduce(
        a, labels, func="mean", axis=tuple(reduced), expected_groups=3, min_count=1
    )
    for group in range(3):
        is_in = np.broadcast_to(labels == group, a.shape)
        count, axes = is_in.sum(tuple(reduced)), tuple(reduced)
        with np.errstate(invalid="ignore"):
            expected = np.where(is_in, a, 0).sum(axes) / count
        np.testing.assert_allclose(found[..., group], expected, atol=1e-14)


@pytest.mark.parametrize("func", ["sum", "var", "max", "argmin", "last", "nanmean", "any"])
@pytest.mark.parametrize("n_groups", [3, 5000])
def test_the_number_of_workers_changes_no_bit(tuned: Any, func: str, n_groups: int) -> None:
    tuned(
        chunk_bytes=1 << 12, group_table_words=1 << 10, group_bucket_words=1 << 8,
        group_slab_length=1 << 14, group_piece_length=1 << 10, thread_bytes=1,
    )  # fmt: skip
    n = 50_000
    a, labels = SOME.normal(size=n), SOME.integers(0, n_groups, n)
    found = []
    for n_workers in (0, 1, 3):
        with sharedmem.MapReduceByThread(n_workers):
            found.append(sharedmem.group_reduce(a, labels, func=func)[0].tobytes())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_number_of_workers_changes_no_bit_of_several_lines(tuned: Any, axis: int) -> None:
    tuned(chunk_bytes=1 << 12, thread_bytes=1)
    a = SOME.normal(size=(40, 50, 60)) * 10.0 ** SOME.integers(-8, 8, (40, 50, 60))
    lines, labels = np.moveaxis(a, axis, -1), SOME.integers(-1, 3, a.shape[axis])
    found = []
    for n_workers in (0, 1, 3):
        with sharedmem.MapReduceByThread(n_workers):
            results, _ = sharedmem.group_reduce(lines, labels, func=["mean", "std", "argmin"])
            found.append([result.tobytes() for result in results])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("order", ["random", "sorted"])
@pytest.mark.parametrize("func", ["sum", "argmax", "nanfirst", "var"])
def test_many_groups(tuned: Any, func: str, order: str) -> None:
    tuned(
        group_table_words=1 << 8, group_bucket_words=1 << 7, group_slab_length=1 << 10,
        group_piece_length=1 << 8, thread_bytes=1,
    )  # fmt: skip
    n, n_groups = 5000, 700
    a, codes = SOME.normal(size=n)[::-1], SOME.integers(-1, n_groups, n)
    if order == "sorted":
        codes.sort()
    found, _ = sharedmem.group_reduce(a, codes, func=func, expected_groups=n_groups + 1)
    for group in range(n_groups):
        places = np.flatnonzero(codes == group)
        x = a[places]
        expected = {
            "sum": lambda x=x: x.sum(),
            "argmax": lambda x=x, places=places: places[x.argmax()] if len(x) else -1,
            "nanfirst": lambda x=x: x[0] if len(x) else np.nan,
            "var": lambda x=x: x.var() if len(x) else np.nan,
        }[func]()
        np.testing.assert_allclose(found[group], expected, rtol=1e-12, atol=1e-14)


def test_sums_are_compensated() -> None:
    n = 200_000
    a = SOME.normal(size=n) * 10.0 ** SOME.integers(-8, 8, n)
    codes = SOME.integers(0, 5, n)
    found, _ = sharedmem.group_reduce(a, codes, func="sum")
    for group in range(5):
        exact = math.fsum(a[codes == group])
        assert abs(found[group] - exact) <= np.spacing(abs(exact))


@pytest.mark.parametrize("center", [0.0, 1e9])
@pytest.mark.parametrize("codes", [np.arange(300_000) % 3, np.arange(300_000) // 100_000])
def test_variances_are_exact_far_from_zero(center: float, codes: Array) -> None:
    a = SOME.normal(center, 1, 300_000)
    a[:3] = center + 100  # where each group, or the first, has its center
    found, _ = sharedmem.group_reduce(a, codes, func="var")
    for group in range(3):
        x = a[codes == group].astype(np.longdouble)
        exact = ((x - x.mean()) ** 2).mean()
        assert abs(found[group] - exact) < 5e-15 * exact


def test_variances_of_what_is_not_finite() -> None:
    a = [np.inf, 1, 2, 1e300, -1e300, 1, np.nan, 1]
    found, _ = sharedmem.group_reduce(a, [0, 0, 0, 1, 1, 2, 3, 3], func="var")
    np.testing.assert_array_equal(found, [np.nan, np.inf, 0, np.nan])
    found, _ = sharedmem.group_reduce(a[3:6], [0, 0, 1], func="std", finalize_kwargs={"ddof": 1})
    np.testing.assert_array_equal(found, [np.inf, np.nan])


def test_several_functions_at_once() -> None:
    a, codes = SOME.normal(size=(2, 30)), np.arange(30) % 3
    span = sharedmem.Reduction(np.ptp, max)
    named = {"mean": "mean", "sum": "sum", "span": span, "middle": "median"}
    found, labels = sharedmem.group_reduce(a, codes, func=named)
    assert [*found] == [*named]
    assert labels.tolist() == [0, 1, 2]
    for name, func in named.items():
        alone, _ = sharedmem.group_reduce(a, codes, func=func)
        np.testing.assert_array_equal(found[name], alone)
    listed, _ = sharedmem.group_reduce(a, codes, func=[*named.values()])
    for one, other in zip(listed, found.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found["span"], by_loop(a, codes, 3, lambda x: np.ptp(x, axis=1)))


def test_groups_without_elements() -> None:
    a, codes = np.array([1, 2, 3]), [0, 0, 2]
    empty = {"sum": 0, "prod": 1, "count": 0, "any": False, "all": True, "argmin": -1}
    empty |= dict.fromkeys(["mean", "var", "min", "max", "first", "median"], np.nan)
    for name, value in empty.items():
        found, _ = sharedmem.group_reduce(a, codes, func=name, expected_groups=3)
        np.testing.assert_array_equal(found[1], value)
    for name in empty:
        found, _ = sharedmem.group_reduce(a, codes, func=name, expected_groups=3, fill_value=-5)
        assert found[1] == -5
    found, _ = sharedmem.group_reduce([1.0, np.nan, 3], codes, func="nansum", min_count=2)
    np.testing.assert_array_equal(found, [np.nan, np.nan])
    for name in ("sum", "mean", "max", "first", "median"):
        found, _ = sharedmem.group_reduce(np.empty((2, 0)), [], func=name, expected_groups=2)
        assert found.shape == (2, 2)


def test_elements_of_any_dtype() -> None:
    codes = [1, 0, 1]
    days = np.array(["2001-01-01", "1999-01-01", "NaT"], "M8[D]")
    found, _ = sharedmem.group_reduce(days, codes, func="nanmax")
    assert found.tolist() == days[[1, 0]].tolist()
    found, _ = sharedmem.group_reduce(["a", "b", "c"], codes, func="last")
    assert found.tolist() == ["b", "c"]
    found, _ = sharedmem.group_reduce([1j, 2, 3], codes, func="sum")
    assert found.tolist() == [2, 3 + 1j]
    found, _ = sharedmem.group_reduce(days, codes, func="count")
    assert found.tolist() == [1, 1]


def test_several_labels() -> None:
    a = SOME.normal(size=(4, 6))
    rows, columns = np.array([[0], [1], [0], [1]]), np.array(["a", "b", "a", "b", "c", "c"])
    found, *labels = sharedmem.group_reduce(a, rows, columns, func="sum")
    assert [each.tolist() for each in labels] == [[0, 1], ["a", "b", "c"]]
    for i, j in np.ndindex(found.shape):
        of_group = a[(rows == i) & (columns == labels[1][j])]
        np.testing.assert_allclose(found[i, j], of_group.sum())


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "must be a Reduction or one of", {"func": "total"}),
        (TypeError, "ddof", {"func": "sum", "finalize_kwargs": {"ddof": 1}}),
        (TypeError, "need q", {"func": "quantile"}),
        (ValueError, "between 0 and 1", {"func": "quantile", "finalize_kwargs": {"q": 2}}),
        (ValueError, "is not among the last 1 axes", {"func": "sum", "axis": 0}),
        (TypeError, "must be floating", {"func": "mean", "dtype": int}),
        (ValueError, "func is empty", {"func": []}),
    ],
)
def test_errors(error: type[Exception], message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        sharedmem.group_reduce(np.ones((2, 3)), [0, 1, 0], **arguments)


def test_labels_have_the_shape_of_the_last_axes() -> None:
    with pytest.raises(ValueError, match=r"the shape \(2,\).* whose shape is \(2, 3\)"):
        sharedmem.group_reduce(np.ones((2, 3)), [0, 1], func="sum")
    with pytest.raises(TypeError, match="labels are missing"):
        sharedmem.group_reduce(np.ones(3), func="sum")


def test_too_many_results_for_memory() -> None:
    a = np.broadcast_to(1.0, (10**8, 2))
    with pytest.raises(MemoryError, match="100000 groups of 100000000 lines need"):
        sharedmem.group_reduce(a, [0, 1], func="sum", expected_groups=10**5)


@pytest.mark.parametrize("func", ["sum", "argmin", "median", "first"])
@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)])
def test_arrays_without_elements(func: str, shape: tuple[int, ...]) -> None:
    labels = np.empty(shape[-1:], int)
    found, _ = sharedmem.group_reduce(np.empty(shape), labels, func=func, expected_groups=2)
    assert found.shape == (*shape[:-1], 2)
    empty = {"sum": 0.0, "argmin": -1}.get(func, np.nan)
    np.testing.assert_array_equal(found, np.full(found.shape, empty))
    found, labels = sharedmem.group_reduce(np.empty(0), np.empty(0, int), func=func)
    assert found.shape == labels.shape == (0,)


@pytest.mark.parametrize("func", ["median", "nanmedian"])
def test_quantiles_of_groups_without_elements(func: str) -> None:
    found, _ = sharedmem.group_reduce(
        [1.0, 5.0, 9.0], [1, 3, 1], func=func, expected_groups=6, fill_value=-1
    )
    assert found.tolist() == [-1, 5, -1, 5, -1, -1]


def test_fill_values_have_to_fit() -> None:
    a = np.array([7, 3], "u1")
    with pytest.raises(ValueError, match=r"fill_value -3 is out of bounds .* dtype uint8"):
        sharedmem.group_reduce(a, [0, 1], func="min", fill_value=-3)
    found, _ = sharedmem.group_reduce(
        a, [0, 0], func="min", fill_value=-3, expected_groups=2, dtype="i2"
    )
    assert found.tolist() == [3, -3]


@pytest.fixture(params=["zarr", "h5py"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Array, Any]]:
    """Yield an array, and the same array in a file."""
    a = SOME.normal(size=(3, 40, 50))
    a[SOME.random(a.shape) < 0.1] = np.nan
    if request.param == "zarr":
        yield a, zarr.create_array(tmp_path / "a.zarr", data=a, chunks=(2, 7, 9))
        cleanup_resources()  # zarr keeps its threads for the next call
    else:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            yield a, file.create_dataset("a", data=a, chunks=(2, 7, 9))


def test_arrays_in_files(stored: tuple[Array, Any], tuned: Any) -> None:
    tuned(chunk_bytes=1 << 12)
    a, store = stored
    labels = SOME.integers(-1, 4, (40, 50))
    names = ["nanmean", "nanvar", "nanargmax", "last", "nanfirst", "count", "max", "argmin"]
    found, _ = sharedmem.group_reduce(store, labels, func=names)
    expected, _ = sharedmem.group_reduce(a, labels, func=names)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)
        assert one.dtype == other.dtype
    with pytest.raises(TypeError, match="read as a whole"):
        sharedmem.group_reduce(store, labels, func="median")
    with pytest.raises(ValueError, match="must name all axes"):
        sharedmem.group_reduce(store, labels, func="mean", axis=-1)
