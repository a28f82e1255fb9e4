"""What reductions by NumPy's names have in common: result types, `out`, and what NumPy does."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.conversion import has_rules
from sharedmem.engine.operands import check_target, in_memory
from sharedmem.engine.reduce import Axis
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.nonfinite import told
from sharedmem.kernels import Reduction

Array = NDArray[Any]

# Numbers and times: all others are NumPy's.
_KINDS = "biufcmM"
_DEFAULTS = {"keepdims": False, "where": True, "ddof": 0}


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
    """Say whether kernels do this; NumPy has what is empty, of no axes, no number or converted."""
    if has_rules(a) or a.size == 0 or a.ndim == 0:
        return False
    if a.dtype.kind not in _KINDS or result.kind not in _KINDS:
        return False
    if where is not True and (a.dtype.kind not in "biufc" or initial is None):
        return False  # NumPy asks for an `initial` where a mask may leave nothing
    return out is None or (
        isinstance(out, np.ndarray)
        and not has_rules(out)
        and out.flags.writeable
        and out.dtype == result
        and out.shape == kept_shape(a, axis, keepdims)
    )


def result_dtype(func: Callable[..., Any], dtype: np.dtype[Any], wanted: Any) -> np.dtype[Any]:
    """Return the type that one of NumPy's functions gives, where `dtype=wanted` is asked for.

    That of objects stands for all types that no kernel takes.
    """
    if dtype.kind not in _KINDS:
        return np.dtype(object)
    return _result_dtype(func, dtype, None if wanted is None else np.dtype(wanted))


@functools.lru_cache(256)
def _result_dtype(func: Callable[..., Any], dtype: np.dtype[Any], wanted: Any) -> np.dtype[Any]:
    # An array, since a scalar of objects is what it holds.
    dtype_of_lines: np.dtype[Any] = func(np.zeros((1, 1), dtype), axis=0, dtype=wanted).dtype
    return dtype_of_lines


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type in the byte order of this machine, which is that of results."""
    return dtype.newbyteorder("=") if dtype.kind in _KINDS else dtype


def by_numpy(func: Callable[..., Any], a: Any, **options: Any) -> Any:
    """Call one of NumPy's functions, which does what no kernel does.

    Options that have NumPy's defaults are left out: for NumPy, None is a value of its own, and
    types with rules of their own do not take all options.
    """
    given = {
        name: value
        for name, value in options.items()
        if value is not None and value is not _DEFAULTS.get(name)
    }
    return func(a if has_rules(a) else in_memory(a), **given)


def degrees_lost(ddof: float, correction: float | None) -> float:
    """Return what `ddof` or, by its other name, `correction` says."""
    if correction is None:
        return ddof
    if ddof != 0:
        raise ValueError(f"ddof={ddof} and correction={correction} are one option: give one")
    return correction


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an `out` that a result of this shape and type does not fit, as NumPy does."""
    if out is None:
        return
    check_target(out, "out", shape)
    nothing = np.empty(0, dtype)
    np.minimum(nothing, nothing, out=np.empty(0, out.dtype))  # of casts, NumPy says


def store(result: Any, out: Any) -> Any:
    """Return a result, or `out` with the result in it."""
    if out is None:
        return result
    out[...] = result
    return out


def reduce_from(
    ufunc: Any,
    initial: Any,
    reduction: Reduction,
    a: Array,
    axis: Axis,
    keepdims: bool,
    skips_nan: bool = False,
) -> Any:
    """Reduce an array, starting from `initial` unless that is None."""
    value = reduce(reduction, a, axis, keepdims=keepdims or initial is not None)
    if ufunc is np.add:
        told(value, "reduce", a, axis=axis, skips_nan=skips_nan)
    if initial is None:
        return value
    rest = np.asarray(value)
    dtype = None if rest.dtype.kind in "mM" else rest.dtype  # NumPy takes no unit as dtype=
    return ufunc.reduce(rest, axis, dtype, None, keepdims, initial)
