"""Where the extrema of an array are, by NumPy's names."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, NDArray

from sharedmem.engine.operands import as_operand
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.numpy_rules import by_numpy, is_covered, store
from sharedmem.kernels import Reduction, arg_extrema

Array = NDArray[Any]


def argmin(
    a: ArrayLike, axis: int | None = None, out: Array | None = None, *, keepdims: bool = False
) -> Any:
    """Return the index of the first smallest element, or NaN, as `numpy.argmin` does.

    Parameters
    ----------
    a : array_like
    axis : int, optional
        The axis along which to search; by default the array is flattened in C order.
    out, keepdims
        As for :func:`sharedmem.sum`.

    Returns
    -------
    int or ndarray of int

    Raises
    ------
    ValueError
        If there are no elements.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.argmin([3, 1, 7]))
    1
    """
    a = as_operand(a)
    if not has_positions(a, axis, out, keepdims):
        return by_numpy(np.argmin, a, axis=axis, out=out, keepdims=keepdims)
    return store(reduce_positions(arg_extrema.argmin(a.dtype), a, axis, keepdims), out)


def argmax(
    a: ArrayLike, axis: int | None = None, out: Array | None = None, *, keepdims: bool = False
) -> Any:
    """Return the index of the first largest element, or NaN, as `numpy.argmax` does.

    Parameters
    ----------
    a : array_like
    axis : int, optional
        The axis along which to search; by default the array is flattened in C order.
    out, keepdims
        As for :func:`sharedmem.sum`.

    Returns
    -------
    int or ndarray of int

    Raises
    ------
    ValueError
        If there are no elements.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.argmax([3, 1, 7]))
    2
    """
    a = as_operand(a)
    if not has_positions(a, axis, out, keepdims):
        return by_numpy(np.argmax, a, axis=axis, out=out, keepdims=keepdims)
    return store(reduce_positions(arg_extrema.argmax(a.dtype), a, axis, keepdims), out)


def has_positions(a: Array, axis: int | None, out: Any, keepdims: bool) -> bool:
    """Say whether kernels find positions along an axis."""
    if axis is not None and a.ndim:
        normalize_axis_index(operator.index(axis), a.ndim)
    return isinstance(a, np.ndarray) and (is_covered(a, np.dtype(np.intp), axis, out, keepdims))


def reduce_positions(reduction: Reduction, a: Array, axis: int | None, keepdims: bool) -> Any:
    """Reduce an array to positions along an axis, or in C order."""
    line, along = (a.reshape(-1), 0) if axis is None else (a, axis)
    if line.strides[along] < 0:  # reductions see elements in the order of memory
        line = np.ascontiguousarray(line)
    result = reduce(reduction, line, along, keepdims=keepdims)
    if axis is not None or not keepdims:
        return result
    shape = (1,) * a.ndim
    if isinstance(result, tuple):
        return tuple(np.reshape(part, shape) for part in result)
    return np.reshape(result, shape)
