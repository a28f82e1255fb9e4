"""Weighted averages, on the pool in use."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.arrays.labels import REDUCTION, Dims, with_labels
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import as_array, in_memory
from sharedmem.engine.reduce import Axis, reduce as reduce_array
from sharedmem.engine.runners import run_serially
from sharedmem.functions.linear_algebra import line_dot, run_over
from sharedmem.functions.nonfinite import warn_nonfinite
from sharedmem.functions.reductions import mean, sum
from sharedmem.kernels import sums
from sharedmem.machine.tuning import tuning
from sharedmem.pool.watches import one_call

Array = NDArray[Any]


@with_labels(REDUCTION, "a")
@one_call
def average(
    a: ArrayLike,
    axis: Axis = None,
    weights: ArrayLike | None = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
    dim: Dims = None,
) -> Any:
    """Compute the weighted average along axes, from compensated sums; see `numpy.average`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The array. With weights it must be in memory.
    axis : int or tuple of int, optional
        Axes to average over, by default all.
    weights : array_like, optional
        Weight of each element, with the shape of `a` or of its axes in `axis`. By default all
        weights are one.
    returned : bool, optional
        Whether to return the sum of the weights, too.
    keepdims : bool, optional
        Whether the averaged axes stay, with length one.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    average : scalar or ndarray
        The average, in the common type of `a` and `weights`; in float64 if `a` has integers.
    sum_of_weights : scalar or ndarray
        The sum of the weights, of the same shape. Only if `returned` is True.

    Raises
    ------
    ZeroDivisionError
        If weights sum to zero.
    TypeError, ValueError
        If the shape of the weights does not fit.

    See Also
    --------
    mean : Return the mean without weights.
    dot : Sum the products of two arrays.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.average([1, 2, 6], weights=[3, 2, 1]))
    2.1666666666666665
    """
    a = as_array(a) if weights is None else in_memory(a)
    axes = None if axis is None else normalize_axis_tuple(axis, a.ndim, "axis")
    if weights is None:
        result: Any = mean(a, axes, keepdims=keepdims)
        total: Any = np.asarray(result).dtype.type(a.size / np.asarray(result).size)
    else:
        spread = _spread_weights(in_memory(weights), a, axes)
        dtype = np.result_type(a, spread, *(["f8"] if a.dtype.kind in "biu" else []))
        if dtype.kind not in "biufc":
            return cast(Any, np.average)(a, axis, weights, returned, keepdims=keepdims)
        wide = np.promote_types(dtype, np.float32)  # sums of float16 overflow
        total = sum(spread, axes, wide, keepdims=keepdims)
        if np.any(total == 0):
            raise ZeroDivisionError(
                "the weights sum to zero, so that the average is undefined; give other weights"
            )
        result = (_weighted_sum(a, spread, axes, wide, keepdims) / total).astype(dtype)[()]
    if not returned:
        return result
    total = np.broadcast_to(total, np.shape(result))
    return result, total.astype(np.asarray(result).dtype, "C")[()]


def _spread_weights(weights: Array, a: Array, axes: tuple[int, ...] | None) -> Array:
    """Return weights with the axes of `a`; those that they do not depend on have length one."""
    if weights.shape == a.shape:
        return weights
    if axes is None:
        raise TypeError(
            f"weights of shape {weights.shape} differ from the array of shape {a.shape}: give the "
            "axis that they belong to"
        )
    if weights.shape != tuple(a.shape[axis] for axis in axes):
        raise ValueError(
            f"weights of shape {weights.shape} do not fit axes {axes} of an array of shape "
            f"{a.shape}: they must have the lengths of these axes"
        )
    shape = [a.shape[axis] if axis in axes else 1 for axis in range(a.ndim)]
    return weights.transpose(np.argsort(axes)).reshape(shape)


def _weighted_sum(
    a: Array, weights: Array, axes: tuple[int, ...] | None, dtype: np.dtype[Any], keepdims: bool
) -> Any:
    """Return the sum of products over axes, multiplied chunk by chunk to stay in cache."""
    axes = axes if axes is not None else tuple(range(a.ndim))
    weights = np.broadcast_to(weights, a.shape)
    in_order = a.flags.c_contiguous and weights.flags.c_contiguous
    if len(axes) == a.ndim and in_order and np.result_type(a, weights) == dtype:
        total = line_dot(a.reshape(-1), weights.reshape(-1), conjugate=False)
        return total.reshape((1,) * a.ndim) if keepdims else total
    add = sums.add(dtype, dtype)
    shape = [1 if axis in axes else length for axis, length in enumerate(a.shape)]
    total, lost = np.zeros(shape, dtype), np.zeros(shape, dtype)
    grid = chunks(a, memory_order(a.strides), nbytes=tuning.chunk_bytes // 4)

    def chunk_sum(chunk: Chunk) -> Any:
        where = (*chunk, ...)
        products = np.multiply(a[where], weights[where], dtype=dtype)
        return reduce_array(run_serially, add, products, axes, keepdims=True)

    parts = run_over(grid, a.nbytes + weights.nbytes)(chunk_sum, grid)
    for chunk, part in zip(grid, parts, strict=True):
        place = tuple(slice(None) if axis in axes else where for axis, where in enumerate(chunk))
        state = sums.combine((total[place], lost[place]), (part, np.zeros_like(part)))
        total[place], lost[place] = state
    result = warn_nonfinite(sums.compensated(total, lost), "reduce", a, weights)
    return (result if keepdims else result.squeeze(axes))[()]
