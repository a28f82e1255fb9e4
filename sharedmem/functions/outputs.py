"""The shape of results, and `out`: whether a result fits, and how it is stored there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.conversion import has_rules
from sharedmem.engine.operands import check_target
from sharedmem.engine.reduce import Axis

Array = NDArray[Any]
Out = Array | None


def line_length(a: Array, axis: Axis) -> int:
    """Return the number of elements that each result is reduced from."""
    axes = tuple(range(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim, "axis")
    return math.prod(a.shape[at] for at in axes)


def kept_shape(a: Array, axis: Axis, keepdims: bool) -> tuple[int, ...]:
    """Return the shape of an array after reduction."""
    axes = normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim, "axis")
    if keepdims:
        return tuple(1 if at in axes else length for at, length in enumerate(a.shape))
    return tuple(length for at, length in enumerate(a.shape) if at not in axes)


def fits(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any] | None) -> bool:
    """Return whether `out` is a plain, writable array of this shape and dtype."""
    is_plain = isinstance(out, np.ndarray) and not has_rules(out) and out.flags.writeable
    return is_plain and out.shape == shape and out.dtype == dtype


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an `out` that a result of this shape and dtype does not fit, as NumPy does."""
    if out is None:
        return
    check_target(out, "out", shape)
    nothing = np.empty(0, dtype)
    np.minimum(nothing, nothing, out=np.empty(0, out.dtype))  # raises where the cast is unsafe


def store(result: Any, out: Any) -> Any:
    """Return a result, or `out` with the result in it."""
    if out is None:
        return result
    out[...] = result
    return out
