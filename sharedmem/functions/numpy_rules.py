"""The table of NumPy's reductions, one row per function."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from sharedmem.functions.average_rules import Average, NanAverage, masked_variance
from sharedmem.functions.reduction_rules import Extremum, Position, Rule, Total, Truth
from sharedmem.kernels import (
    arg_extrema,
    counts,
    extrema,
    nan_reductions,
    products,
    sums,
    variances,
)


def _minmax(a: Any, **options: Any) -> Any:
    return np.min(a, **options), np.max(a, **options)


def _range(ends: tuple[Any, Any]) -> Any:
    return np.subtract(ends[1], ends[0])


_EMPTY = "Mean of empty slice"
_SHORT = "Degrees of freedom <= 0 for slice"

# fmt: off
ANY  = Truth(numpy=np.any, neutral=False)
ALL  = Truth(numpy=np.all, neutral=True)

SUM  = Total(numpy=np.sum,  kernel=sums.add,          ufunc=np.add)
PROD = Total(numpy=np.prod, kernel=products.multiply, ufunc=np.multiply)

MIN  = Extremum(numpy=np.min, kernel=extrema.minimum, ufunc=np.minimum, of_truth=ALL)
MAX  = Extremum(numpy=np.max, kernel=extrema.maximum, ufunc=np.maximum, of_truth=ANY)

MINMAX        = Rule(numpy=_minmax,          kernel=extrema.minmax)
PTP           = Rule(numpy=np.ptp,           kernel=extrema.minmax, finish=_range, inputs="iufcmM")
COUNT_NONZERO = Rule(numpy=np.count_nonzero, kernel=counts.count_nonzero)

# Kernels of averages, by the dtypes of elements and result, their number, and the degrees lost.
MEAN = Average(numpy=np.mean, warning=_EMPTY,
               kernel=lambda dtype, result, count, _: sums.mean(dtype, result, count))
VAR  = Average(numpy=np.var, warning=_SHORT, of_masked=masked_variance,
               kernel=lambda dtype, result, _, ddof: variances.variance(dtype, result, ddof))
STD  = Average(numpy=np.std, warning=_SHORT, typed_by=np.var,
               of_masked=functools.partial(masked_variance, takes_root=True),
               kernel=lambda dtype, result, _, ddof: variances.deviation(dtype, result, ddof))

ARGMIN = Position(numpy=np.argmin, kernel=arg_extrema.argmin)
ARGMAX = Position(numpy=np.argmax, kernel=arg_extrema.argmax)

# Those that skip NaN. To nanmin and nanmax, NaT is NaN, too; to all others, only floats have it.
NANSUM  = Total(numpy=np.nansum,  kernel=nan_reductions.add,      ufunc=np.add,      plain=SUM)
NANPROD = Total(numpy=np.nanprod, kernel=nan_reductions.multiply, ufunc=np.multiply, plain=PROD)
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
NANARGMIN = Position(numpy=np.nanargmin, kernel=arg_extrema.nanargmin, plain=ARGMIN)
NANARGMAX = Position(numpy=np.nanargmax, kernel=arg_extrema.nanargmax, plain=ARGMAX)
# fmt: on
