"""Rules by which kernels compute NumPy's reductions: a class per family, an instance per row."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import NDArray

from sharedmem.arrays.conversion import has_rules
from sharedmem.engine.derived_arrays import as_mask, masked
from sharedmem.engine.operands import in_memory
from sharedmem.engine.reduce import Axis
from sharedmem.errors import warn_caller
from sharedmem.functions.chunkwise import any_chunk, reduce
from sharedmem.functions.nonfinite import warn_nonfinite
from sharedmem.functions.outputs import check_out, kept_shape, line_length, store
from sharedmem.kernels import counts, products
from sharedmem.kernels.reduction import LineReduction

Array = NDArray[Any]
DType = np.dtype[Any]

# Numbers and times.
KINDS = "biufcmM"


class Options(NamedTuple):
    """The options of a call, under NumPy's names and with its defaults."""

    axis: Axis = None
    dtype: Any = None
    out: Any = None
    keepdims: bool = False
    initial: Any = None
    where: Any = True
    ddof: float = 0
    mean: Any = None


_DEFAULTS = Options()


@dataclass(frozen=True, kw_only=True)
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
    """

    numpy: Callable[..., Any]
    kernel: Callable[..., LineReduction]
    inputs: str = KINDS
    results: str = KINDS
    plain: Rule | None = None
    no_nan: str = "biumM"
    finish: Callable[[Any], Any] | None = None
    typed_by: Callable[..., Any] | None = None
    needs_initial: bool = False

    def covers(self, a: Any, result: DType, options: Options) -> bool:
        """Return whether kernels compute this.

        NumPy does the rest: arrays that are empty or have no axes, and an `out` of another shape or
        dtype.
        """
        if a.ndim == 0 or a.size == 0 or options.mean is not None:
            return False
        if result.kind not in self.results:
            return False
        if options.where is not True and (
            a.dtype.kind not in "biufc" or (self.needs_initial and options.initial is None)
        ):
            return False
        out = options.out
        return out is None or (
            isinstance(out, np.ndarray)
            and not has_rules(out)
            and out.flags.writeable
            and out.dtype == result
            and out.shape == kept_shape(a, options.axis, options.keepdims)
        )

    def by_numpy(self, a: Any, options: Options) -> Any:
        """Call NumPy's function.

        Options that have NumPy's defaults are left out: functions do not take all options, nor do
        types with rules of their own.
        """
        given = {
            name: value
            for name, value, default in zip(options._fields, options, _DEFAULTS, strict=True)
            if value is not default
        }
        return self.numpy(a if has_rules(a) else in_memory(a), **given)

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return the value of a call that kernels compute, in the dtype `result`."""
        value = reduce(self.kernel(a.dtype), a, options.axis, keepdims=options.keepdims)
        return self.finish(value) if self.finish else value


@dataclass(frozen=True, kw_only=True)
class Total(Rule):
    """Sums and products.

    Attributes
    ----------
    ufunc : ufunc
        Combines two elements.
    neutral : number
        Replaces the elements that a mask leaves out.
    """

    ufunc: np.ufunc
    neutral: int
    results: str = "iufcmM"

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return totals of `initial` and elements."""
        axis, initial = options.axis, options.initial
        if options.where is not True:
            a = masked(a, options.where, self.neutral)
        reduction: LineReduction = self.kernel(a.dtype, result)
        excused: Any = False
        if initial is not None and self.ufunc is np.multiply and result.kind in "fc":
            # The product alone may overflow where that with `initial` does not.
            reduction = products.starting_from(initial, reduction, result)
            excused = not np.isfinite(initial)
            initial = None
        value = reduce(reduction, a, axis, keepdims=options.keepdims or initial is not None)
        warn_nonfinite(
            value, "reduce", a, axis=axis, skips_nan=self.plain is not None, excused=excused
        )
        return value if initial is None else _combine(self.ufunc, initial, value, options)


def _combine(ufunc: Any, initial: Any, value: Any, options: Options) -> Any:
    """Combine `initial` with each value, of which all axes are kept."""
    rest = np.asarray(value)
    dtype = None if rest.dtype.kind in "mM" else rest.dtype  # NumPy takes no unit as dtype=
    return ufunc.reduce(rest, options.axis, dtype, None, options.keepdims, initial)


@dataclass(frozen=True, kw_only=True)
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

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return extrema of `initial` and elements; warn where there are none but NaN."""
        initial, where = options.initial, options.where
        if a.dtype.kind == "b" and where is True and initial is None:
            return self.of_truth.value(a, result, options)
        if where is not True:
            a = masked(a, where, initial if self.plain is None else np.nan)
        keepdims = options.keepdims or initial is not None
        value = reduce(self.kernel(a.dtype), a, options.axis, keepdims=keepdims)
        if initial is not None:
            value = _combine(self.ufunc, initial, value, options)
        if self.plain is not None and np.any(np.isnan(value)):
            warn_caller("All-NaN slice encountered")
        return value


@dataclass(frozen=True, kw_only=True)
class Average(Rule):
    """Means, variances, and standard deviations; ``kernel(dtype, result, count, ddof)``.

    Attributes
    ----------
    of_masked : callable
        ``of_masked(a, result, options, count)`` is the value where a mask selects elements.
    warning : str
        NumPy's warning where no more than `ddof` elements take part.
    """

    of_masked: Callable[..., Any]
    warning: str
    results: str = "fcmM"

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return averages; warn of too few elements."""
        axis, keepdims, where = options.axis, options.keepdims, options.where
        if where is True:
            count: Any = line_length(a, axis)
            reduction = self.kernel(a.dtype, result, count, options.ddof)
            value = reduce(reduction, a, axis, keepdims=keepdims)
        else:
            mask = as_mask(where, a.shape)
            count = reduce(counts.count_nonzero(mask.dtype), mask, axis, keepdims=keepdims)
            value = self.of_masked(a, result, options, count)
            a = masked(a, where, 0)
        is_short = count <= options.ddof
        if is_short is not False and np.any(is_short):
            warn_caller(self.warning)
        return warn_nonfinite(value, "reduce", a, axis=axis, excused=is_short)


@dataclass(frozen=True, kw_only=True)
class NanAverage(Rule):
    """Averages of the elements that are not NaN, which ``kernel(dtype, result, ddof)`` counts.

    Attributes
    ----------
    warning : str
        NumPy's warning where no more than `ddof` elements are not NaN.
    longdouble : bool
        Whether kernels take and return longdouble.
    """

    warning: str
    longdouble: bool = True
    results: str = "fc"

    def covers(self, a: Any, result: DType, options: Options) -> bool:
        """Return whether kernels compute this."""
        is_long = "g" in (a.dtype.char, result.char)
        return (self.longdouble or not is_long) and super().covers(a, result, options)

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return averages; warn of too few elements."""
        axis, ddof = options.axis, options.ddof
        if options.where is not True:
            a = masked(a, options.where, np.nan)
        reduction = self.kernel(a.dtype, result, ddof)
        value, count = reduce(reduction, a, axis, keepdims=options.keepdims)
        is_short = count <= ddof
        if np.any(is_short):
            warn_caller(self.warning)
        value = warn_nonfinite(value, "reduce", a, axis=axis, skips_nan=True, excused=is_short)
        value = self.finish(value) if self.finish else value
        return value if value.dtype == result else value.astype(result)


@dataclass(frozen=True, kw_only=True)
class Truth(Rule):
    """Tests of whether any element is true, or all elements are.

    Attributes
    ----------
    neutral : bool
        Replaces the elements that a mask leaves out. It is the value of no elements.
    """

    neutral: bool
    inputs: str = "biufc"
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
        if options.where is not True:
            a = masked(a, options.where, self.neutral)
        length = line_length(a, axis)
        if isinstance(a, np.ndarray) and length == a.size:
            value = not any_chunk(a, _lacks) if self.neutral else any_chunk(a, np.any)
            return np.reshape(value, kept_shape(a, axis, keepdims))[()]
        count = reduce(self.kernel(a.dtype), a, axis, keepdims=keepdims)
        return count == length if self.neutral else count > 0


def _lacks(chunk: Array) -> bool:
    return not np.all(chunk)


@dataclass(frozen=True, kw_only=True)
class Position(Rule):
    """Indices of the first minimum or maximum."""

    def covers(self, a: Any, result: DType, options: Options) -> bool:
        """Return whether kernels compute this: of arrays in memory, along one axis or all."""
        if options.axis is not None and a.ndim:
            normalize_axis_index(operator.index(options.axis), a.ndim)  # type: ignore[arg-type]
        return isinstance(a, np.ndarray) and super().covers(a, result, options)

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return indices along the axis, or in C order; raise where all elements are NaN."""
        line, along = (a.reshape(-1), 0) if options.axis is None else (a, options.axis)
        if line.strides[along] < 0:  # reductions see elements in the order of memory
            line = np.ascontiguousarray(line)
        value = reduce(self.kernel(a.dtype), line, along, keepdims=options.keepdims)
        if self.plain is not None:
            value, is_nan = value
            if np.any(is_nan):
                raise ValueError("All-NaN slice encountered")
        if options.axis is None and options.keepdims:
            return np.reshape(value, (1,) * a.ndim)
        return value
