"""Formulas of reductions of groups: how an element is added to a state, and how states combine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from sharedmem.kernels.extrema import identity_of, larger, smaller
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.reduction import State
from sharedmem.kernels.sums import two_sum
from sharedmem.kernels.variances import exact_product

Words = Sequence[Vector]

# Families whose states end with the place of an element that is wanted, or with one's place.
ELEMENTS, PLACES = frozenset({"first", "last"}), frozenset({"place-of-least", "place-of-greatest"})


class GroupFamily(NamedTuple):
    """The formulas by which elements are added to the state of their group.

    Attributes
    ----------
    name : str
    dtype : dtype
        The type of the words of a state, of which the first is the number of elements.
    start : tuple of float
        The state of no elements.
    step : callable
        ``step(state, x, place)`` adds an element, whose place in its line is known; it returns the
        words after the first.
    combine : callable
        ``combine(a, b)`` returns the state of two neighboring pieces, neither of which is empty.
    skips_nan : bool
        Whether elements that are NaN are left out.
    settle : callable, optional
        ``settle(state)`` returns the state of a piece as `combine` takes it.
    """

    name: str
    dtype: np.dtype[Any]
    start: tuple[float, ...]
    step: Callable[[Words, Vector, Vector], Words]
    combine: Callable[[State, State], State]
    skips_nan: bool = False
    settle: Callable[[State], State] | None = None

    def __repr__(self) -> str:
        """Return what machine code depends on."""
        return f"{self.name} {self.dtype} {self.skips_nan}"

    def combined(self, a: State, b: State) -> State:
        """Return the state of two neighboring pieces, of which one may be empty."""
        both = self.combine(a, b)
        for one, other in ((a, b), (b, a)):
            if not one[0].all():
                pairs = zip(other, both, strict=True)
                both = tuple(np.where(one[0] == 0, word, joint) for word, joint in pairs)
        return both


@lru_cache
def counting(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that counts elements."""
    return GroupFamily("count", dtype, (0,), _none, _combine_none, skips_nan)


@lru_cache
def summing(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that adds elements; of floats, the rounding errors, too."""
    if dtype.kind == "f":
        return GroupFamily("sum", dtype, (0, 0, 0), _add, _combine_sums, skips_nan)
    return GroupFamily("sum", dtype, (0, 0), _add_integer, _combine_integers)


@lru_cache
def multiplying(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that multiplies elements."""
    return GroupFamily("product", dtype, (0, 1), _multiply, _combine_products, skips_nan)


@lru_cache
def squaring(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family of the sum of squares about the mean; it is the last part of a state."""
    start = (0,) * 6
    return GroupFamily("squares", dtype, start, _square, _combine_squares, skips_nan, _about_mean)


@lru_cache
def extreme(dtype: np.dtype[Any], finds_least: bool, skips_nan: bool) -> GroupFamily:
    """Return the family that finds the smallest or the largest element."""
    start, name = identity_of(dtype)[not finds_least], "least" if finds_least else "greatest"
    better: Any = smaller if finds_least else larger

    def step(state: Words, x: Vector, place: Vector) -> Words:
        return [better(state[1], x)]

    def combine(a: State, b: State) -> State:
        ufunc = np.minimum if finds_least else np.maximum
        return a[0] + b[0], ufunc(a[1], b[1])

    return GroupFamily(name, dtype, (0, start), step, combine, skips_nan)


@lru_cache
def locating(dtype: np.dtype[Any], finds_least: bool, skips_nan: bool) -> GroupFamily:
    """Return the family that finds the place of the first of the smallest or largest elements."""
    name = "place-of-least" if finds_least else "place-of-greatest"

    def step(state: Words, x: Vector, place: Vector) -> Words:
        best = state[1]
        is_better = x < best if finds_least else x > best
        if x.is_float:  # the first NaN is better than all numbers
            is_better = is_better | (best.equals(best) & x.differs(x))
        is_better = is_better | _is_empty(state)
        return [is_better.choose(x, best), is_better.choose(place, state[2])]

    def combine(a: State, b: State) -> State:
        is_better = b[1] < a[1] if finds_least else b[1] > a[1]
        is_better = is_better | ((a[1] == a[1]) & (b[1] != b[1]))
        pairs = zip(b[1:], a[1:], strict=True)
        return a[0] + b[0], *(np.where(is_better, later, earlier) for later, earlier in pairs)

    return GroupFamily(name, dtype, (0, 0, 0), step, combine, skips_nan)


@lru_cache
def first(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that finds the place of the first element."""
    return GroupFamily("first", dtype, (0, 0), _first, _combine_firsts, skips_nan)


@lru_cache
def last(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that finds the place of the last element."""
    return GroupFamily("last", dtype, (0, 0), _last, _combine_lasts, skips_nan)


@lru_cache
def counting_nonzero(dtype: np.dtype[Any]) -> GroupFamily:
    """Return the family that counts the elements that are not zero; NaN is not."""
    return GroupFamily("nonzero", dtype, (0, 0), _count_nonzero, _combine_integers)


def _none(state: Words, x: Vector, place: Vector) -> Words:
    return []


def _combine_none(a: State, b: State) -> State:
    return (a[0] + b[0],)


def _add_integer(state: Words, x: Vector, place: Vector) -> Words:
    return [state[1] + x]


def _combine_integers(a: State, b: State) -> State:
    return a[0] + b[0], a[1] + b[1]


def _add(state: Words, x: Vector, place: Vector) -> Words:
    total, error = two_sum(state[1], x)
    return [total, state[2] + error]


def _combine_sums(a: State, b: State) -> State:
    total, error = two_sum(a[1], b[1])
    return a[0] + b[0], total, a[2] + (b[2] + error)


def _multiply(state: Words, x: Vector, place: Vector) -> Words:
    return [state[1] * x]


def _combine_products(a: State, b: State) -> State:
    return a[0] + b[0], a[1] * b[1]


def _is_empty(state: Words) -> Vector:
    return state[0].equals(state[0].full(0))


def _square(state: Words, x: Vector, place: Vector) -> Words:
    _, center, total, lost, squares, lost_squares = state
    # The first element: how far it is from the mean is one of the deviations.
    center = _is_empty(state).choose(x, center)
    deviation = x - center
    total, error = two_sum(total, deviation)
    square, square_error = exact_product(deviation, deviation)
    squares, more_error = two_sum(squares, square)
    return [center, total, lost + error, squares, lost_squares + (square_error + more_error)]


def _about_mean(state: State) -> State:
    """Return count, center, deviation of the mean from it, and sum of squares about the mean."""
    count, center, total, lost, squares, lost_squares = state
    deviation = _settled(total, lost) / np.maximum(count, 1)
    found = _settled(squares, lost_squares) - deviation * deviation * count
    found = np.where(squares == np.inf, np.where(np.isfinite(total), np.inf, np.nan), found)
    return count, center, deviation.astype(count.dtype), found.astype(count.dtype)


def _combine_squares(a: State, b: State) -> State:
    count, weight = a[0] + b[0], b[0] / (a[0] + b[0])
    delta = (b[1] - a[1]) + (b[2] - a[2])
    between = delta * delta * (a[0] * weight)
    squares = a[3] + b[3] + np.where(np.isnan(between), np.inf, between)
    return count, a[1], a[2] + delta * weight, squares


def _settled(total: Array, lost: Array) -> Array:
    """Return a sum plus its error in a precision beyond that of both."""
    return np.where(np.isfinite(lost), total.astype(np.longdouble) + lost, total)


def _first(state: Words, x: Vector, place: Vector) -> Words:
    return [_is_empty(state).choose(place, state[1])]


def _combine_firsts(a: State, b: State) -> State:
    return a[0] + b[0], a[1]


def _last(state: Words, x: Vector, place: Vector) -> Words:
    return [place]


def _combine_lasts(a: State, b: State) -> State:
    return a[0] + b[0], b[1]


def _count_nonzero(state: Words, x: Vector, place: Vector) -> Words:
    return [state[1] + x.differs(x.full(0)).ones(x).widen(x)]
