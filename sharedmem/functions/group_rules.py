"""Rules by which kernels compute reductions of groups, one row per name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels import group_families
from sharedmem.kernels.group_families import GroupFamily
from sharedmem.kernels.loops.layout import has_kernel
from sharedmem.kernels.reduction import State
from sharedmem.kernels.sums import compensated

Array = NDArray[Any]
Type = np.dtype[Any]


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
    is_mean : bool
        Whether the result is a floating-point number.
    is_index : bool
        Whether values are indices of elements.
    is_element : bool
        Whether values are indices of elements, and the results these elements.
    options : frozenset of str
        The keyword arguments of `value`.
    """

    family: Callable[[Type, bool], GroupFamily]
    value: Callable[..., Array]
    result: Callable[[Type], Type]
    sums: bool = False
    empty: Any = None
    is_mean: bool = False
    is_index: bool = False
    is_element: bool = False
    options: frozenset[str] = frozenset()

    def has_kernel(self, dtype: Type, result: Type) -> bool:
        """Return whether kernels compute results of `result` from elements of `dtype`."""
        return has_kernel(dtype, "biuf") and has_kernel(result, "biuf")

    @property
    def gives_places(self) -> bool:
        """Return whether values are indices of elements."""
        return self.is_index or self.is_element

    def words(self, dtype: Type, result: Type) -> Type:
        """Return the dtype of the words of states."""
        words = result if self.sums else dtype
        return np.dtype(
            np.float64 if words.kind == "f" else np.uint64 if words == np.uint64 else np.int64
        )


def _same(dtype: Type) -> Type:
    return dtype.newbyteorder("=")


def _of(dtype: Any) -> Callable[[Type], Type]:
    return lambda _: np.dtype(dtype)


def _of_sum(dtype: Type) -> Type:
    return np.add.reduce(np.empty(0, dtype)).dtype  # type: ignore[no-any-return]


def _of_mean(dtype: Type) -> Type:
    return _same(dtype) if dtype.kind in "fc" else np.dtype(np.float64)


def _of_variance(dtype: Type) -> Type:
    return np.empty(0, _of_mean(dtype)).real.dtype


def _second(state: State) -> Array:
    return state[1]


def _total(state: State) -> Array:
    return compensated(*state[1:]) if len(state) > 2 else state[1]


def _mean(state: State) -> Array:
    return compensated(*state[1:]) / state[0]


def _variance(state: State, ddof: float = 0) -> Array:
    return state[3] / np.maximum(state[0] - ddof, 0)


def _deviation(state: State, ddof: float = 0) -> Array:
    return np.sqrt(_variance(state, ddof))


def _is_any(state: State) -> Array:
    return state[1] > 0


def _are_all(state: State) -> Array:
    return np.equal(*state)


def _place(state: State) -> Array:
    return state[-1]


def _extreme(finds_least: bool) -> GroupRule:
    return GroupRule(partial(_ordered, group_families.extreme, finds_least), _second, _same)


def _located(finds_least: bool) -> GroupRule:
    family = partial(_ordered, group_families.locating, finds_least)
    return GroupRule(family, _place, _of(np.intp), is_index=True)


def _ordered(make: Any, finds_least: bool, words: Type, skips_nan: bool) -> GroupFamily:
    return make(words, finds_least, skips_nan)  # type: ignore[no-any-return]


def _nonzero(words: Type, skips_nan: bool) -> GroupFamily:
    return group_families.counting_nonzero(words)


_DDOF = frozenset({"ddof"})
# By name, without the prefix "nan".
RULES: Mapping[str, GroupRule] = {
    "sum": GroupRule(group_families.summing, _total, _of_sum, sums=True, empty=0),
    "prod": GroupRule(group_families.multiplying, _second, _of_sum, sums=True, empty=1),
    "mean": GroupRule(group_families.summing, _mean, _of_mean, sums=True, is_mean=True),
    "var": GroupRule(
        group_families.squaring, _variance, _of_variance, sums=True, is_mean=True, options=_DDOF
    ),
    "std": GroupRule(
        group_families.squaring, _deviation, _of_variance, sums=True, is_mean=True, options=_DDOF
    ),
    "min": _extreme(finds_least=True),
    "max": _extreme(finds_least=False),
    "argmin": _located(finds_least=True),
    "argmax": _located(finds_least=False),
    "any": GroupRule(_nonzero, _is_any, _of(bool), empty=False),
    "all": GroupRule(_nonzero, _are_all, _of(bool), empty=True),
    "count": GroupRule(group_families.counting, itemgetter(0), _of(np.intp), empty=0),
    "first": GroupRule(group_families.first, _place, _same, is_element=True),
    "last": GroupRule(group_families.last, _place, _same, is_element=True),
}

_QUANTILES = ("median", "quantile")
# Those that treat NaN as the names say.
_WITHOUT_PREFIX = frozenset({"any", "all", "count"})
NAMES = (
    *RULES,
    *_QUANTILES,
    *(f"nan{n}" for n in (*RULES, *_QUANTILES) if n not in _WITHOUT_PREFIX),
)


def by_numpy(
    name: str, skips_nan: bool, dtype: Type, more: Mapping[str, Any]
) -> Callable[[Array], Any]:
    """Return the function of the elements of a group, for a dtype without kernels."""
    takes_dtype = RULES[name].sums

    def compute(x: Array) -> Any:
        if skips_nan:
            x = x[x == x]
        if name == "count":
            return len(x)
        if name in ("first", "last"):
            return x[0 if name == "first" else -1]
        return getattr(np, name)(x, **({"dtype": dtype} if takes_dtype else {}), **more)

    return compute
