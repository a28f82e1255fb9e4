"""Discrete differences along an axis, on the pool in use."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.labels import DIFFERENCES, Dims, with_labels
from sharedmem.engine.operands import in_memory
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

_MISSING: Any = inspect.signature(np.diff).parameters["append"].default


@with_labels(DIFFERENCES, "a")
def diff(
    a: ArrayLike,
    n: int = 1,
    axis: int = -1,
    prepend: Any = _MISSING,
    append: Any = _MISSING,
    *,
    dim: Dims = None,
) -> Any:
    """Calculate the n-th discrete difference along an axis; see `numpy.diff`.

    Parameters
    ----------
    a : array_like
        The array.
    n : int, optional
        Number of times that differences are taken.
    axis : int, optional
        Axis to take differences along, by default the last.
    prepend, append : array_like, optional
        Values to put before or after `a` along the axis; scalars are repeated.
    dim : hashable, optional
        The name of the axis of an array of xarray, instead of `axis`.

    Returns
    -------
    ndarray
        The differences, `n` fewer along the axis than `a` with `prepend` and `append` has
        elements. Of booleans, whether neighbors differ.

    Raises
    ------
    ValueError
        If `n` is negative, `a` has no dimensions, or `axis` is out of bounds.

    See Also
    --------
    cumsum : Return the cumulative sum, the inverse.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.diff([1, 2, 4, 7]).tolist()
    [1, 2, 3]
    """
    a = in_memory(a)
    if n <= 0 or a.ndim == 0 or a.nbytes <= tuning.scan_chunk_bytes or a.dtype.hasobject:
        return np.diff(a, n, axis, prepend, append)
    axis = normalize_axis_index(axis, a.ndim)
    side = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
    parts = [
        np.broadcast_to(part, side) if np.ndim(part) == 0 else part
        for part in (in_memory(part) for part in (prepend, a, append) if part is not _MISSING)
    ]
    a = np.concatenate(parts, axis) if len(parts) > 1 else a
    return _differences(a, n, axis)


@one_call
def _differences(a: NDArray[Any], n: int, axis: int) -> NDArray[Any]:
    """Return the differences of the n-th order."""
    before: tuple[slice, ...] = (*[slice(None)] * axis, slice(None, -1))
    after: tuple[slice, ...] = (*[slice(None)] * axis, slice(1, None))
    subtract = np.not_equal if a.dtype.kind == "b" else np.subtract
    for _ in range(n):
        sample = np.empty(0, a.dtype)
        result = np.empty_like(a[after], subtract(sample, sample).dtype, subok=False)
        current_pool().apply_ufunc(subtract, a[after], a[before], out=result)
        a = result
    return a
