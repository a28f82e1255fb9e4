"""Rules by which kernels compute NumPy's means, variances, and standard deviations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharedmem.engine.derived_arrays import as_mask, masked, squares
from sharedmem.errors import warn_caller
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.nonfinite import warn_nonfinite
from sharedmem.functions.outputs import kept_shape, line_length
from sharedmem.functions.reduction_rules import DType, Options, Rule
from sharedmem.kernels import counts, sums
from sharedmem.kernels.quiet import quietly
from sharedmem.kernels.reduction import LineReduction


def masked_mean(a: Any, result: DType, options: Options, count: Any) -> Any:
    """Return the mean of the `count` elements of each line that ``options.where`` selects."""
    wide = np.promote_types(result, np.float64)
    selected = masked(a, options.where, 0)
    total = reduce(sums.add(a.dtype, wide), selected, options.axis, keepdims=options.keepdims)
    return quietly(np.true_divide, total, count).astype(result)[()]


def masked_variance(
    a: Any, result: DType, options: Options, count: Any, takes_root: bool = False
) -> Any:
    """Return the variance, or its root, of the elements that ``options.where`` selects."""
    axis, keepdims = options.axis, options.keepdims
    wide = np.promote_types(result, np.float64)
    count_each = np.reshape(count, kept_shape(a, axis, keepdims=True))
    kept = options._replace(keepdims=True)
    mean = masked_mean(a, np.promote_types(wide, a.dtype), kept, count_each)
    selected = masked(squares(a, np.broadcast_to(mean, a.shape)), options.where, 0)

    def variance() -> Any:
        total = reduce(sums.add(selected.dtype, wide), selected, axis, keepdims=keepdims)
        squares = np.true_divide(total, np.maximum(count - options.ddof, 0))
        return (np.sqrt(squares) if takes_root else squares).astype(result)[()]

    return quietly(variance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Average(Rule):
    """Means, variances, and standard deviations; ``kernel(dtype, result, count, ddof)``.

    Attributes
    ----------
    warning : str
        NumPy's warning where no more than `ddof` elements take part.
    of_masked : callable
        ``of_masked(a, result, options, count)`` is the value where a mask selects elements.
    """

    warning: str
    of_masked: Callable[..., Any] = masked_mean
    results: str = "fcmM"
    warns: bool = True

    def reduction(self, a: Any, result: DType, options: Options) -> LineReduction:
        """Return what averages as many elements as a line has."""
        return self.kernel(a.dtype, result, line_length(a, options.axis), options.ddof)

    def finished(self, value: Any, a: Any, result: DType, options: Options) -> Any:
        """Return averages in the dtype of the result."""
        value = super().finished(value, a, result, options)
        return value if value.dtype == result else value.astype(result)

    def value(self, a: Any, result: DType, options: Options) -> Any:
        """Return averages; warn of too few elements."""
        value, count, a = self.counted(a, result, options)
        is_short = count <= options.ddof
        if is_short is not False and np.any(is_short):
            warn_caller(self.warning)
        skips_nan = self.plain is not None
        warn_nonfinite(value, "reduce", a, axis=options.axis, skips_nan=skips_nan, excused=is_short)
        return Average.finished(self, value, a, result, options)

    def counted(self, a: Any, result: DType, options: Options) -> tuple[Any, Any, Any]:
        """Return averages, the number of elements of each, and the array that these are from."""
        axis, keepdims, where = options.axis, options.keepdims, options.where
        if where is True:
            count = line_length(a, axis)
            reduction = self.reduction(a, result, options)
            return reduce(reduction, a, axis, keepdims=keepdims), count, a
        mask = as_mask(where, a.shape)
        count = reduce(counts.count_nonzero(mask.dtype), mask, axis, keepdims=keepdims)
        return self.of_masked(a, result, options, count), count, masked(a, where, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class NanAverage(Average):
    """Averages of the elements that are not NaN, which ``kernel(dtype, result, ddof)`` counts."""

    results: str = "fc"

    def whole(self, a: Any, result: DType) -> LineReduction | None:
        """Return None: the elements are counted."""
        return None

    def reduction(self, a: Any, result: DType, options: Options) -> LineReduction:
        """Return what averages elements, and counts them."""
        return self.kernel(a.dtype, result, options.ddof)

    def finished(self, value: Any, a: Any, result: DType, options: Options) -> Any:
        """Return averages without the counts."""
        return super().finished(value[0], a, result, options)

    def counted(self, a: Any, result: DType, options: Options) -> tuple[Any, Any, Any]:
        """Return averages, the number of elements of each, and the array that these are from."""
        a = masked(a, options.where, np.nan)
        reduction = self.reduction(a, result, options)
        return *reduce(reduction, a, options.axis, keepdims=options.keepdims), a
