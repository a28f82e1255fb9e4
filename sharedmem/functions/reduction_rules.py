"""Rules by which kernels compute NumPy's reductions: a class per family, an instance per row."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from sharedmem.arrays.conversion import has_rules
from sharedmem.engine.derived_arrays import Numbered, masked
from sharedmem.engine.operands import PLAIN, as_array, as_operand, check_disk, in_memory, is_store
from sharedmem.engine.plans import NumberPlan
from sharedmem.engine.reduce import Axis, Request
from sharedmem.errors import warn_caller
from sharedmem.functions.chunkwise import any_chunk, reduce, threads_of_caller
from sharedmem.functions.nonfinite import warn_nonfinite
from sharedmem.functions.outputs import check_out, fits, kept_shape, line_length, store
from sharedmem.kernels import arg_extrema, counts, products
from sharedmem.kernels.reduction import LineReduction

DType = np.dtype[Any]

# Numbers and times.
KINDS = "biufcmM"


class Options(NamedTuple):
    """The options of a call, under NumPy's names and with its defaults."""

    axis: Axis = None
    dtype: Any = None
    out: Any = None
    keepdims: bool = False
    where: Any = True
    initial: Any = None
    ddof: float = 0
    mean: Any = None


MAX_PLANS = 256
# The states of larger arrays do not fit on the stack.
MAX_PLANNED_BYTES = 64 << 20


def is_default(options: Options) -> bool:
    """Return whether a call has no options but the array; also of those no array is compared."""
    axis, dtype, out, keepdims, where, initial, ddof, mean = options
    return (
        axis is None and dtype is None and out is None and keepdims is False
        and where is True and initial is None and ddof is _NO_DEGREES and mean is None
    )  # fmt: skip


_NO_DEGREES = Options().ddof
_UNKNOWN = object()
# Flags of an array: aligned, and in C or Fortran order as well.
_ALIGNED = 0x100
_DENSE = _ALIGNED | 0x2 | 0x1


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """The rule by which one of NumPy's reductions is computed: a row of the table in `numpy_rules`.

    Attributes
    ----------
    numpy : callable
        The function of NumPy. It computes what kernels do not.
    kernel : callable
        Returns the reduction for a dtype, and in some families for the dtype of the result.
    inputs, results : str
        The kinds of dtypes that kernels take, and return.
    longdouble : bool
        Whether kernels take and return longdouble.
    plain : Rule, optional
        Of a function that skips NaN: the rule of the function that does not.
    no_nan : str
        The kinds of dtypes in which NumPy's function sees no NaN. The plain rule has them.
    finish : callable, optional
        Computes the result from that of the kernel.
    typed_by : callable, optional
        A function of NumPy that returns the same dtypes. `numpy.std` refuses some for arrays alone.
    needs_initial : bool
        Whether a mask requires `initial`, since it may select no element.
    warns : bool
        Whether there are warnings of values that are not finite.
    plans : dict
        The plans for arrays, by their dtypes and shapes.
    """

    numpy: Callable[..., Any]
    kernel: Callable[..., LineReduction]
    inputs: str = KINDS
    results: str = KINDS
    longdouble: bool = True
    plain: Rule | None = None
    no_nan: str = "biumM"
    finish: Callable[[Any], Any] | None = None
    typed_by: Callable[..., Any] | None = None
    needs_initial: bool = False
    warns: bool = False
    plans: dict[Any, NumberPlan | None] = field(default_factory=dict, init=False, repr=False)

    def apply(self, a: Any, options: Options) -> Any:
        """Return the value of a call, or `out`: by kernels what they cover, all else by NumPy."""
        if type(a) in PLAIN and is_default(options):
            value = self.planned(a)
            if value is not None:
                return value
        if type(a) is not np.ndarray:
            a = as_operand(a)
        if self.plain is not None and a.dtype.kind in self.no_nan:
            return self.plain.apply(a, options)
        if options.out is not None:
            check_disk(options.out)
        if type(a) is not np.ndarray and has_rules(a):
            return self.by_numpy(a, options)
        wanted = None if options.dtype is None else np.dtype(options.dtype)
        result = result_dtype(self, a.dtype, wanted)
        if result is None or not self.covers(a, result, options):
            return self.by_numpy(a, options)
        return store(self.value(a, result, options), options.out)

    def of(self, dtype: DType) -> Rule:
        """Return the rule with the same values for elements of a dtype, and the least to do."""
        is_plain = self.plain is not None and dtype.kind in self.no_nan
        return self.plain.of(dtype) if is_plain else self  # type: ignore[union-attr]

    def reduce(self, a: Any, axis: Axis, keepdims: bool) -> Any:
        """Return the value of a call of a function that has no other options, and is faster so."""
        if type(a) in PLAIN and axis is None and keepdims is False:
            value = self.planned(a)
            if value is not None:
                return value
        a = as_array(a)
        if a.ndim and a.size and a.dtype.kind in self.inputs:
            return reduce(self.kernel(a.dtype), a, axis, keepdims=keepdims)
        return self.numpy(in_memory(a), axis=axis, keepdims=keepdims)

    def planned(self, a: Any) -> Any:
        """Return the value of all elements by a plan; None if there is none, or it has to be asked.

        A value that is not finite may need a warning.
        """
        key = a.dtype, a.shape
        plan: Any = self.plans.get(key, _UNKNOWN)
        if plan is _UNKNOWN:
            if len(self.plans) >= MAX_PLANS:
                self.plans.clear()
            plan = self.plans[key] = self._plan(a)
        if plan is None or a.flags.num & _DENSE <= _ALIGNED:
            return None
        n_threads = threads_of_caller(a)
        if not n_threads:
            return None
        value = plan(a, n_threads)
        return value if not self.warns or math.isfinite(value) else None

    def _plan(self, a: Any) -> NumberPlan | None:
        if not (a.size and a.ndim and a.nbytes <= MAX_PLANNED_BYTES):
            return None
        result = result_dtype(self, a.dtype, None)
        reduction = None if result is None else self.whole(a, result)
        if reduction is None or reduction.spec is None or self.finish is not None:
            return None
        plan = NumberPlan(reduction.spec(a.size), a.dtype, a.size)
        return plan if plan.dtype == result else None

    def whole(self, a: Any, result: DType) -> LineReduction | None:
        """Return the reduction of all elements to a value; None if more has to be done."""
        return self.reduction(a, result, Options())

    def covers(self, a: Any, result: DType, options: Options) -> bool:
        """Return whether kernels compute this, for dtypes that they take and return.

        NumPy does the rest: arrays that are empty or have no axes, and an `out` of another shape or
        dtype.
        """
        if a.ndim == 0 or a.size == 0 or options.mean is not None:
            return False
        if options.where is not True and (
            a.dtype.kind not in "biufc" or (self.needs_initial and options.initial is None)
        ):
            return False
        out, axis = options.out, options.axis
        return out is None or fits(out, kept_shape(a, axis, options.keepdims), result)

    def by_numpy(self, a: Any, options: Options) -> Any:
        """Call NumPy's function.

        Options that have NumPy's defaults are left out: functions do not take all options, nor do
        types with rules of their own.
        """
        defaults = options._field_defaults
        given = {k: value for k, value in options._asdict().items() if value is not defaults[k]}
        return self.numpy(a if has_rules(a) else in_memory(a), **given)

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return the value of a call that kernels compute, in the dtype `result`."""
        value = reduce(*self.request(a, result, options))
        return self.finished(value, a, result, options)

    def request(self, a: Any, result: DType, options: Options) -> Request:
        """Return how an array is reduced, without a mask or `initial`."""
        reduction = self.reduction(a, result, options)
        return Request(reduction, a, options.axis, options.keepdims)

    def reduction(self, a: Any, result: DType, options: Options) -> LineReduction:
        """Return what reduces arrays of this shape and dtype, without a mask or `initial`."""
        return self.kernel(a.dtype)

    def finished(self, value: Any, a: Any, result: DType, options: Options) -> Any:
        """Return the value of a call, without warnings, from the result of its reduction."""
        return self.finish(value) if self.finish else value


@functools.lru_cache(512)
def result_dtype(rule: Rule, dtype: DType, wanted: DType | None) -> DType | None:
    """Return the dtype that NumPy's function returns, or None if kernels do not take or return it.

    `wanted` is the argument `dtype` of the call.
    """
    if dtype.kind not in rule.inputs:
        return None
    function, options = rule.typed_by or rule.numpy, {} if wanted is None else {"dtype": wanted}
    # Of two axes, one is kept: NumPy returns an array then, also of objects.
    result = np.asarray(function(np.zeros((1, 1), dtype), axis=0, **options)).dtype
    is_covered = rule.longdouble or "g" not in (dtype.char, result.char)
    return result if is_covered and result.kind in rule.results else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Total(Rule):
    """Sums and products.

    Attributes
    ----------
    ufunc : ufunc
        Combines two elements. Its identity replaces the elements that a mask leaves out.
    """

    ufunc: np.ufunc
    results: str = "iufcmM"
    warns: bool = True

    def reduction(self, a: Any, result: DType, options: Options) -> LineReduction:
        """Return what adds or multiplies in the dtype of the result."""
        return self.kernel(a.dtype, result)

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return totals of `initial` and elements."""
        axis, initial = options.axis, options.initial
        a = masked(a, options.where, self.ufunc.identity)
        reduction, excused = self.reduction(a, result, options), False
        if initial is not None and self.ufunc is np.multiply and result.kind in "fc":
            # The product alone may overflow where that with `initial` does not.
            reduction = products.starting_from(initial, reduction, result)
            excused = not np.isfinite(initial)
            initial = None
        value = reduce(reduction, a, axis, keepdims=options.keepdims or initial is not None)
        skips_nan = self.plain is not None
        warn_nonfinite(value, "reduce", a, axis=axis, skips_nan=skips_nan, excused=excused)
        return value if initial is None else _combine(self.ufunc, initial, value, options)


def _combine(ufunc: Any, initial: Any, value: Any, options: Options) -> Any:
    """Combine `initial` with each value, of which all axes are kept."""
    rest = np.asarray(value)
    dtype = None if rest.dtype.kind in "mM" else rest.dtype  # NumPy takes no unit as dtype=
    return ufunc.reduce(rest, options.axis, dtype, None, options.keepdims, initial)


@dataclass(frozen=True, kw_only=True, eq=False)
class Extremum(Rule):
    """Minima and maxima.

    Attributes
    ----------
    ufunc : ufunc
        Returns one of two elements.
    of_truth : Rule
        The rule with the same value for booleans, which stops early.
    """

    ufunc: np.ufunc
    of_truth: Rule
    needs_initial: bool = True

    def whole(self, a: Any, result: DType) -> LineReduction | None:
        """Return the reduction of all elements to a value; None of booleans, and if NaN counts."""
        return None if a.dtype.kind == "b" or self.plain is not None else self.kernel(a.dtype)

    def of(self, dtype: DType) -> Rule:
        """Return the rule for elements of a dtype: that of truth values for booleans."""
        return self.of_truth if dtype.kind == "b" else super().of(dtype)

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return extrema of `initial` and elements; warn where there are none but NaN."""
        initial, where = options.initial, options.where
        if a.dtype.kind == "b" and where is True and initial is None:
            return self.of_truth.value(a, result, options)
        a = masked(a, where, initial if self.plain is None else np.nan)
        keepdims = options.keepdims or initial is not None
        value = reduce(self.reduction(a, result, options), a, options.axis, keepdims=keepdims)
        if initial is not None:
            value = _combine(self.ufunc, initial, value, options)
        if self.plain is not None and np.any(np.isnan(value)):
            warn_caller("All-NaN slice encountered")
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth(Rule):
    """Tests of whether any element is true, or all elements are.

    Attributes
    ----------
    neutral : bool
        Replaces the elements that a mask leaves out. It is the value of no elements.
    """

    neutral: bool
    inputs: str = "biufc"

    def whole(self, a: Any, result: DType) -> LineReduction | None:
        """Return None: not all elements may have to be read."""
        return None

    kernel: Callable[..., LineReduction] = counts.count_nonzero

    def by_numpy(self, a: Any, options: Options) -> Any:
        """Call NumPy's function, but write to an `out` of objects here: NumPy 2.4 crashes."""
        out = options.out
        if not (isinstance(out, np.ndarray) and out.dtype == object):
            return super().by_numpy(a, options)
        result = super().by_numpy(a, options._replace(out=None))
        check_out(out, np.shape(result), np.dtype(bool))
        return store(result, out)

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return truth values; of one line, stop at the first chunk that decides."""
        axis, keepdims = options.axis, options.keepdims
        a = masked(a, options.where, self.neutral)
        if isinstance(a, np.ndarray) and line_length(a, axis) == a.size:
            decides = (lambda chunk: not np.all(chunk)) if self.neutral else np.any
            value = any_chunk(a, decides) != self.neutral
            return np.reshape(value, kept_shape(a, axis, keepdims))[()]
        return super().value(a, result, options)

    def finished(self, value: Any, a: Any, result: DType, options: Options) -> Any:
        """Return truth values, from counts of true elements."""
        return value == line_length(a, options.axis) if self.neutral else value > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Position(Rule):
    """Indices of the first minimum or maximum."""

    def whole(self, a: Any, result: DType) -> LineReduction | None:
        """Return None: indices count in C order."""
        return None

    def request(self, a: Any, result: DType, options: Options) -> Request:
        """Return how an array is reduced along an axis, or in C order."""
        reduction, axis = self.reduction(a, result, options), options.axis
        if isinstance(a, np.ndarray):
            line, axis = (a.reshape(-1), 0) if axis is None else (a, axis)
            along = normalize_axis_index(operator.index(axis), line.ndim)  # type: ignore[arg-type]
            if line.strides[along] < 0:  # reductions see elements in the order of memory
                line = np.ascontiguousarray(line)
            return Request(reduction, line, along, options.keepdims)
        if axis is None and is_store(a):
            numbered = Numbered.of(a, *arg_extrema.NUMBERED)
            return Request(arg_extrema.by_number(reduction), numbered, axis, options.keepdims)
        return Request(reduction, a, axis, options.keepdims)

    def finished(self, value: Any, a: Any, result: DType, options: Options) -> Any:
        """Return indices; raise where all elements are NaN."""
        if self.plain is not None:
            value, is_nan = value
            if np.any(is_nan):
                raise ValueError("All-NaN slice encountered")
        if options.axis is None and options.keepdims:
            return np.reshape(value, (1,) * a.ndim)
        return value
