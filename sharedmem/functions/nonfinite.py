"""Warnings about results that are infinite or NaN, as NumPy issues them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.derived_arrays import magnitudes
from sharedmem.engine.reduce import Axis
from sharedmem.functions.chunkwise import any_chunk, reduce
from sharedmem.kernels import extrema, nan_reductions
from sharedmem.machine.float_flags import tell_kinds

Array = NDArray[Any]


def warn_nonfinite(
    result: Any,
    name: str,
    *arrays: Any,
    axis: Axis = None,
    skips_nan: bool = False,
    excused: Any = False,
) -> Any:
    """Return a result; warn or raise, as NumPy would, if it is infinite or NaN.

    The flags of the processor do not tell: compensation subtracts infinities. If the result is not
    finite, the elements are read once more. A result of finite elements is an overflow, and NaN
    from infinities is an invalid value.

    Parameters
    ----------
    result : scalar or ndarray
        The result of a reduction.
    name : str
        The name of the operation in the warning.
    *arrays : array
        The arrays that were reduced. All elements of several arrays count as one line.
    axis : int or tuple of int, optional
        The axes that were reduced. By default, all axes.
    skips_nan : bool
        Whether the reduction ignores NaN.
    excused : bool or ndarray of bool, shaped as `result`
        The results that are not to be warned of.

    Returns
    -------
    scalar or ndarray
        `result`.

    Raises
    ------
    FloatingPointError
        If ``numpy.errstate`` asks for it.
    """
    if _is_finite(result):
        return result
    modes = np.geterr()
    if modes["over"] == modes["invalid"] == "ignore":
        return result
    along = len(arrays) == 1 and (np.ndim(result) or not isinstance(arrays[0], np.ndarray))
    has_nan, has_inf = np.False_, np.False_
    for a in (a for a in arrays if a.dtype.kind in "fc"):
        found = _along(a, axis, skips_nan, np.shape(result)) if along else _anywhere(a, skips_nan)
        has_nan, has_inf = has_nan | found[0], has_inf | found[1]
    is_told = ~np.isfinite(result) & ~np.asarray(excused) & (skips_nan | ~has_nan)
    kinds = set()
    if np.any(np.isnan(result) & is_told & has_inf):
        kinds.add("invalid")
    if np.any(is_told & ~has_inf):
        kinds.add("over")
    tell_kinds(kinds, name)
    return result


def _is_finite(result: Any) -> bool:
    if isinstance(result, float):  # NumPy's float64 is one, and numpy.isfinite is slower
        return math.isfinite(result)
    return np.asarray(result).dtype.kind not in "fc" or bool(np.isfinite(result).all())


def _anywhere(a: Array, skips_nan: bool) -> tuple[Any, Any]:
    """Return whether any element is NaN, and infinite; stop at the first chunk that has one."""
    has_nan = not skips_nan and any_chunk(a, lambda chunk: np.isnan(chunk).any())
    return np.bool_(has_nan), np.bool_(any_chunk(a, lambda chunk: np.isinf(chunk).any()))


def _along(a: Any, axis: Axis, skips_nan: bool, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return whether there are NaNs, and infinities, in each line."""
    values: Any = magnitudes(a) if a.dtype.kind == "c" else a
    if skips_nan:
        ends = [
            reduce(extremum(values.dtype), values, axis, keepdims=True)
            for extremum in (nan_reductions.minimum, nan_reductions.maximum)
        ]
    else:
        ends = list(reduce(extrema.minmax(values.dtype), values, axis, keepdims=True))
    low, high = (np.reshape(end, shape) for end in ends)
    return np.isnan(high), np.isinf(low) | np.isinf(high)
