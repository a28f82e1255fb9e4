"""The table of NumPy's reductions, one row per function, and the function that applies a row."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.arrays.conversion import has_rules
from sharedmem.engine.operands import as_array, as_operand
from sharedmem.engine.reduce import Axis
from sharedmem.functions.masked_averages import masked_deviation, masked_mean, masked_variance
from sharedmem.functions.reduction_rules import (
    Average,
    Extremum,
    NanAverage,
    Options,
    Position,
    Rule,
    Total,
    Truth,
)
from sharedmem.kernels import counts, extrema, nan_reductions, products, sums, variances


def apply(
    rule: Rule,
    a: Any,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
    ddof: float = 0,
    mean: Any = None,
) -> Any:
    """Reduce an array as a row says: by kernels what they cover, all else by NumPy.

    Parameters
    ----------
    rule : Rule
        The row of the function.
    a, axis, dtype, out, keepdims, initial, where, ddof, mean
        As for the functions of NumPy that have them; the others leave them out.

    Returns
    -------
    scalar or ndarray
        `out`, if that is given.
    """
    a = as_operand(a)
    if rule.plain is not None and a.dtype.kind in rule.no_nan:
        rule = rule.plain
    options = Options(axis, dtype, out, keepdims, initial, where, ddof, mean)
    if a.dtype.kind not in rule.inputs or (type(a) is not np.ndarray and has_rules(a)):
        return rule.by_numpy(a, options)
    wanted = None if dtype is None else np.dtype(dtype)
    result = result_dtype(rule.typed_by or rule.numpy, a.dtype, wanted)
    if not rule.covers(a, result, options):
        return rule.by_numpy(a, options)
    value = rule.value(a, result, options)
    if out is None:
        return value
    out[...] = value
    return out


@functools.lru_cache(256)
def result_dtype(
    func: Callable[..., Any], dtype: np.dtype[Any], wanted: np.dtype[Any] | None
) -> np.dtype[Any]:
    """Return the dtype that a function of NumPy returns for one, where `dtype=wanted` is given."""
    options = {} if wanted is None else {"dtype": wanted}
    # Of two axes, one is kept: NumPy returns an array then, also of objects.
    return np.asarray(func(np.zeros((1, 1), dtype), axis=0, **options)).dtype


def degrees_lost(ddof: float, correction: float | None) -> float:
    """Return `ddof`, or `correction`, which is its other name."""
    if correction is None:
        return ddof
    if ddof != 0:
        raise ValueError(f"ddof={ddof} and correction={correction} are one option: give one")
    return correction


# These refuse masked arrays and the like: NumPy's ignore the mask, and there is no numpy.minmax.
def _count_nonzero(a: Any, **options: Any) -> Any:
    return np.count_nonzero(as_array(a), **options)


def _ptp(a: Any, **options: Any) -> Any:
    return np.ptp(as_array(a), **options)


def _minmax(a: Any, **options: Any) -> Any:
    a = as_array(a)
    return np.min(a, **options), np.max(a, **options)


def _range(ends: tuple[Any, Any]) -> Any:
    return np.subtract(ends[1], ends[0])


@functools.cache
def _arg_extrema() -> Any:
    """Return the kernels of positions. Other functions do without the import."""
    from sharedmem.kernels import arg_extrema

    return arg_extrema


_EMPTY = "Mean of empty slice"
_SHORT = "Degrees of freedom <= 0 for slice"

# fmt: off
ANY  = Truth(numpy=np.any, neutral=False)
ALL  = Truth(numpy=np.all, neutral=True)

SUM  = Total(numpy=np.sum,  kernel=sums.add,          ufunc=np.add,      neutral=0)
PROD = Total(numpy=np.prod, kernel=products.multiply, ufunc=np.multiply, neutral=1)

MIN  = Extremum(numpy=np.min, kernel=extrema.minimum, ufunc=np.minimum, of_truth=ALL)
MAX  = Extremum(numpy=np.max, kernel=extrema.maximum, ufunc=np.maximum, of_truth=ANY)

MINMAX        = Rule(numpy=_minmax,        kernel=extrema.minmax)
PTP           = Rule(numpy=_ptp,           kernel=extrema.minmax, finish=_range, inputs="iufcmM")
COUNT_NONZERO = Rule(numpy=_count_nonzero, kernel=counts.count_nonzero)

# Kernels of averages, by the dtypes of elements and result, their number, and the degrees lost.
MEAN = Average(numpy=np.mean, of_masked=masked_mean, warning=_EMPTY,
               kernel=lambda dtype, result, count, _: sums.mean(dtype, result, count))
VAR  = Average(numpy=np.var, of_masked=masked_variance, warning=_SHORT,
               kernel=lambda dtype, result, _, ddof: variances.variance(dtype, result, ddof))
STD  = Average(numpy=np.std, of_masked=masked_deviation, warning=_SHORT, typed_by=np.var,
               kernel=lambda dtype, result, _, ddof: variances.deviation(dtype, result, ddof))

ARGMIN = Position(numpy=np.argmin, kernel=lambda dtype: _arg_extrema().argmin(dtype))
ARGMAX = Position(numpy=np.argmax, kernel=lambda dtype: _arg_extrema().argmax(dtype))

# Those that skip NaN. To nanmin and nanmax, NaT is NaN, too; to all others, only floats have it.
NANSUM  = Total(numpy=np.nansum,  kernel=nan_reductions.add,      ufunc=np.add,
                neutral=0, plain=SUM)
NANPROD = Total(numpy=np.nanprod, kernel=nan_reductions.multiply, ufunc=np.multiply,
                neutral=1, plain=PROD)
NANMIN  = Extremum(numpy=np.nanmin, kernel=nan_reductions.minimum, ufunc=np.fmin,
                   of_truth=ALL, plain=MIN, no_nan="biu", results="fc")
NANMAX  = Extremum(numpy=np.nanmax, kernel=nan_reductions.maximum, ufunc=np.fmax,
                   of_truth=ANY, plain=MAX, no_nan="biu", results="fc")
NANMEAN = NanAverage(numpy=np.nanmean, plain=MEAN, warning=_EMPTY,
                     kernel=lambda dtype, result, _: nan_reductions.mean(dtype, result))
NANVAR  = NanAverage(numpy=np.nanvar, plain=VAR, warning=f"{_SHORT}.", inputs="f", results="f",
                     longdouble=False, typed_by=np.var,
                     kernel=lambda dtype, _, ddof: nan_reductions.variance(dtype, ddof))
NANSTD  = NanAverage(numpy=np.nanstd, plain=STD, warning=f"{_SHORT}.", inputs="f", results="f",
                     longdouble=False, typed_by=np.var, finish=np.sqrt,
                     kernel=lambda dtype, _, ddof: nan_reductions.variance(dtype, ddof))
NANARGMIN = Position(numpy=np.nanargmin, plain=ARGMIN,
                     kernel=lambda dtype: _arg_extrema().nanargmin(dtype))
NANARGMAX = Position(numpy=np.nanargmax, plain=ARGMAX,
                     kernel=lambda dtype: _arg_extrema().nanargmax(dtype))
# fmt: on
