"""Rules by which kernels compute reductions of groups, one row per name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels import grouping
from sharedmem.kernels.grouping import GroupFamily
from sharedmem.kernels.reduction import State
from sharedmem.kernels.sums import compensated

Array = NDArray[Any]
Type = np.dtype[Any]

# The default of a group with no elements, whose result would be NaN, or the index -1.
NO_VALUE = None


class GroupRule(NamedTuple):
    """How a reduction of groups is computed.

    Attributes
    ----------
    family : callable
        ``family(words, skips_nan)`` returns the family, whose states have words of this dtype.
    value : callable
        ``value(state, **options)`` returns the results of states.
    result : callable
        ``result(dtype)`` returns the dtype of the results, as NumPy has it.
    sums : bool
        Whether elements are converted to the dtype of the result before they are reduced.
    empty : object
        The result of a group with no elements; None if it has none.
    is_place : bool
        Whether values are indices of elements.
    options : frozenset of str
        The keyword arguments of `value`.
    """

    family: Callable[[Type, bool], GroupFamily]
    value: Callable[..., Array]
    result: Callable[[Type], Type]
    sums: bool = False
    empty: Any = NO_VALUE
    is_place: bool = False
    options: frozenset[str] = frozenset()

    def words(self, dtype: Type, result: Type) -> Type:
        """Return the dtype of the words of states."""
        kind = (result if self.sums else dtype).kind
        is_long = (result if self.sums else dtype) == np.uint64
        return np.dtype(np.float64 if kind in "fc" else np.uint64 if is_long else np.int64)


def _same(dtype: Type) -> Type:
    return dtype.newbyteorder("=")


def _of(dtype: Any) -> Callable[[Type], Type]:
    return lambda _: np.dtype(dtype)


def _of_sum(dtype: Type) -> Type:
    return np.add.reduce(np.empty(0, dtype)).dtype  # type: ignore[no-any-return]


def _of_mean(dtype: Type) -> Type:
    return _same(dtype) if dtype.kind in "fc" else np.dtype(np.float64)


def _second(state: State) -> Array:
    return state[1]


def _total(state: State) -> Array:
    return compensated(*state[1:]) if len(state) > 2 else state[1]


def _mean(state: State) -> Array:
    return compensated(*state[1:]) / state[0]


def _variance(state: State, ddof: float = 0) -> Array:
    return state[3] / np.maximum(state[0] - ddof, 0)  # type: ignore[no-any-return]


def _deviation(state: State, ddof: float = 0) -> Array:
    return np.sqrt(_variance(state, ddof))


def _is_any(state: State) -> Array:
    return state[1] > 0


def _are_all(state: State) -> Array:
    return state[1] == state[0]


def _place(state: State) -> Array:
    return state[-1]


def _extreme(finds_least: bool) -> GroupRule:
    return GroupRule(partial(_ordered, grouping.extreme, finds_least), _second, _same)


def _located(finds_least: bool) -> GroupRule:
    family = partial(_ordered, grouping.locating, finds_least)
    return GroupRule(family, _place, _of(np.intp), empty=-1, is_place=True)


def _ordered(make: Any, finds_least: bool, words: Type, skips_nan: bool) -> GroupFamily:
    return make(words, finds_least, skips_nan)  # type: ignore[no-any-return]


def _nonzero(words: Type, skips_nan: bool) -> GroupFamily:
    return grouping.counting_nonzero(words)


_DDOF = frozenset({"ddof"})
# By name, without the prefix "nan".
RULES: Mapping[str, GroupRule] = {
    "sum": GroupRule(grouping.summing, _total, _of_sum, sums=True, empty=0),
    "prod": GroupRule(grouping.multiplying, _second, _of_sum, sums=True, empty=1),
    "mean": GroupRule(grouping.summing, _mean, _of_mean, sums=True),
    "var": GroupRule(grouping.squaring, _variance, _of_mean, sums=True, options=_DDOF),
    "std": GroupRule(grouping.squaring, _deviation, _of_mean, sums=True, options=_DDOF),
    "min": _extreme(finds_least=True),
    "max": _extreme(finds_least=False),
    "argmin": _located(finds_least=True),
    "argmax": _located(finds_least=False),
    "any": GroupRule(_nonzero, _is_any, _of(bool), empty=False),
    "all": GroupRule(_nonzero, _are_all, _of(bool), empty=True),
    "count": GroupRule(grouping.counting, itemgetter(0), _of(np.intp), empty=0),
    "first": GroupRule(grouping.first, _place, _same),
    "last": GroupRule(grouping.last, _place, _same),
}
