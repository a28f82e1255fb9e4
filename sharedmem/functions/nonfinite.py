"""Warnings about results that are infinite or NaN, as NumPy issues them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.derived_arrays import Sizes
from sharedmem.engine.reduce import Axis
from sharedmem.expressions import float_flags
from sharedmem.functions.chunkwise import any_chunk, reduce
from sharedmem.kernels import extrema, nan_reductions

Array = NDArray[Any]


def told(
    result: Any,
    name: str,
    *arrays: Any,
    axis: Axis = None,
    skips_nan: bool = False,
    excused: Any = False,
) -> Any:
    """Return a result, and warn or raise as NumPy does of what made it infinite or NaN.

    Kernels cannot go by what the processor notes: compensation subtracts infinities from each
    other. A finite result costs nothing. For others the elements are read once more: what comes of
    finite numbers is an overflow, and NaN that comes of infinities is invalid.

    Parameters
    ----------
    result : scalar or ndarray
        What lines were reduced to.
    name : str
        The operation in NumPy's text.
    *arrays : array
        What was reduced. Of several, all elements count as one line.
    axis : int or tuple of int, optional
        The axes that were reduced; by default all.
    skips_nan : bool
        Whether NaNs took no part.
    excused : bool or ndarray of bool, shaped as `result`
        Which results are not finite for another reason.

    Returns
    -------
    scalar or ndarray
        The result.

    Raises
    ------
    FloatingPointError
        Where NumPy is asked to raise.
    """
    if _is_finite(result):
        return result
    modes = np.geterr()
    if modes["over"] == modes["invalid"] == "ignore":
        return result
    is_nan = np.isnan(result)
    floats = [a for a in arrays if a.dtype.kind in "fc"]
    along = len(arrays) == 1 and (np.ndim(result) or not isinstance(arrays[0], np.ndarray))
    has_nan, has_inf = np.False_, np.False_
    for a in floats:
        nan_here, inf_here = (
            _along(a, axis, skips_nan, np.shape(result)) if along else _anywhere(a, skips_nan)
        )
        has_nan, has_inf = has_nan | nan_here, has_inf | inf_here
    told_kinds = set()
    is_told = ~np.isfinite(result) & ~np.asarray(excused) & (skips_nan | ~has_nan)
    if np.any(is_nan & is_told & has_inf):
        told_kinds.add("invalid")
    if np.any(is_told & ~has_inf):
        told_kinds.add("over")
    float_flags.tell_kinds(told_kinds, name)
    return result


def _is_finite(result: Any) -> bool:
    if isinstance(result, float):  # also NumPy's, which is ten times as fast as by NumPy
        return math.isfinite(result)
    return np.asarray(result).dtype.kind not in "fc" or bool(np.isfinite(result).all())


def _anywhere(a: Array, skips_nan: bool) -> tuple[Any, Any]:
    """Return whether any element is NaN or infinite; reads no further than the first of each."""
    has_nan = not skips_nan and any_chunk(a, lambda chunk: np.isnan(chunk).any())
    return np.bool_(has_nan), np.bool_(any_chunk(a, lambda chunk: np.isinf(chunk).any()))


def _along(a: Any, axis: Axis, skips_nan: bool, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return whether there are NaNs or infinities in each line."""
    sizes: Any = Sizes(a) if a.dtype.kind == "c" else a
    if skips_nan:
        ends = [
            reduce(extremum(sizes.dtype), sizes, axis, keepdims=True)
            for extremum in (nan_reductions.minimum, nan_reductions.maximum)
        ]
    else:
        ends = list(reduce(extrema.minmax(sizes.dtype), sizes, axis, keepdims=True))
    low, high = (np.reshape(end, shape) for end in ends)
    return np.isnan(high), np.isinf(low) | np.isinf(high)
