"""What reductions by NumPy's names have in common: result types, `out`, and what NumPy does."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.chunkwise import reduce
from sharedmem.kernels import Reduction
from sharedmem.reducing import Axis

Array = NDArray[Any]


def line_length(a: Array, axis: Axis) -> int:
    """Return how many elements each result is reduced from."""
    axes = tuple(np.arange(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim, "axis")
    return math.prod(a.shape[at] for at in axes)


def kept_shape(a: Array, axis: Axis, keepdims: bool) -> tuple[int, ...]:
    """Return the shape of what is left of an array that is reduced."""
    axes = normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim, "axis")
    if keepdims:
        return tuple(1 if at in axes else length for at, length in enumerate(a.shape))
    return tuple(length for at, length in enumerate(a.shape) if at not in axes)


def is_covered(
    a: Array,
    result: np.dtype[Any],
    axis: Axis,
    out: Any,
    keepdims: bool,
    where: Any = True,
    initial: Any = 0,
) -> bool:
    """Say whether kernels do this; NumPy has what is empty, of no axes, of objects or converted."""
    if a.size == 0 or a.ndim == 0 or a.dtype.kind == "O" or result.kind == "O":
        return False
    if where is not True and (a.dtype.kind not in "biufc" or initial is None):
        return False  # NumPy asks for an `initial` where a mask may leave nothing
    return out is None or (
        isinstance(out, np.ndarray)
        and out.flags.writeable
        and out.dtype == result
        and out.shape == kept_shape(a, axis, keepdims)
    )


def result_dtype(func: Callable[..., Any], dtype: np.dtype[Any], wanted: Any) -> np.dtype[Any]:
    """Return the type that one of NumPy's functions gives, where `dtype=wanted` is asked for."""
    return _result_dtype(func, dtype, None if wanted is None else np.dtype(wanted))


@functools.lru_cache(256)
def _result_dtype(func: Callable[..., Any], dtype: np.dtype[Any], wanted: Any) -> np.dtype[Any]:
    return np.asarray(func(np.zeros(1, dtype), dtype=wanted)).dtype


def given(**options: Any) -> dict[str, Any]:
    """Return the options that are not None: for NumPy, None is a value of its own."""
    return {name: value for name, value in options.items() if value is not None}


def store(result: Any, out: Any) -> Any:
    """Return a result, or `out` with the result in it."""
    if out is None:
        return result
    out[...] = result
    return out


def reduce_from(
    ufunc: Any, initial: Any, reduction: Reduction, a: Array, axis: Axis, keepdims: bool
) -> Any:
    """Reduce an array, starting from `initial` unless that is None."""
    if initial is None:
        return reduce(reduction, a, axis, keepdims=keepdims)
    rest = np.asarray(reduce(reduction, a, axis, keepdims=True))
    return ufunc.reduce(rest, axis, rest.dtype, None, keepdims, initial)
