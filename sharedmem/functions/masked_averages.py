"""Means and variances of the elements that a mask selects, from sums of them and of squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.engine.derived_arrays import masked, squares
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.outputs import kept_shape
from sharedmem.functions.reduction_rules import Options
from sharedmem.kernels import sums


def masked_mean(a: Any, result: np.dtype[Any], options: Options, count: Any) -> Any:
    """Return the mean of the `count` elements of each line that ``options.where`` selects."""
    wide = np.promote_types(result, np.float64)
    selected = masked(a, options.where, 0)
    total = reduce(sums.add(a.dtype, wide), selected, options.axis, keepdims=options.keepdims)
    with np.errstate(invalid="ignore"):
        return np.true_divide(total, count).astype(result)[()]


def masked_variance(
    a: Any, result: np.dtype[Any], options: Options, count: Any, takes_root: bool = False
) -> Any:
    """Return the variance, or its root, of the elements that ``options.where`` selects."""
    axis, keepdims = options.axis, options.keepdims
    wide = np.promote_types(result, np.float64)
    count_each = np.reshape(count, kept_shape(a, axis, keepdims=True))
    kept = options._replace(keepdims=True)
    mean = masked_mean(a, np.promote_types(wide, a.dtype), kept, count_each)
    selected = masked(squares(a, np.broadcast_to(mean, a.shape)), options.where, 0)
    with np.errstate(all="ignore"):
        total = reduce(sums.add(selected.dtype, wide), selected, axis, keepdims=keepdims)
        variance = np.true_divide(total, np.maximum(count - options.ddof, 0))
        return (np.sqrt(variance) if takes_root else variance).astype(result)[()]


def masked_deviation(a: Any, result: np.dtype[Any], options: Options, count: Any) -> Any:
    """Return the standard deviation of the elements that ``options.where`` selects."""
    return masked_variance(a, result, options, count, takes_root=True)
