"""Reductions of groups: against NumPy's functions of the elements of each group."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

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
