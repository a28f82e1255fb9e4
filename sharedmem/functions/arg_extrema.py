"""Indices of minima and maxima by NumPy's names, on the pool in use."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from sharedmem.functions import numpy_rules
from sharedmem.functions.numpy_rules import apply

Array = NDArray[Any]


def argmin(
    a: ArrayLike, axis: int | None = None, out: Array | None = None, *, keepdims: bool = False
) -> Any:
    """Return the indices of the minimum values along an axis, as `numpy.argmin` does.

    Parameters
    ----------
    a : array_like
        The elements. An array in a file is refused: load it by ``a[...]``.
    axis : int, optional
        The axis to search along. By default, the index is into the array flattened in C order.
    out, keepdims
        As for :func:`sharedmem.sum`.

    Returns
    -------
    int or ndarray of int
        The first index, if the minimum occurs more than once. NaN counts as the minimum.

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
    return apply(numpy_rules.ARGMIN, a, axis, None, out, keepdims)


def argmax(
    a: ArrayLike, axis: int | None = None, out: Array | None = None, *, keepdims: bool = False
) -> Any:
    """Return the indices of the maximum values along an axis, as `numpy.argmax` does.

    Parameters
    ----------
    a, axis, out, keepdims
        As for :func:`argmin`.

    Returns
    -------
    int or ndarray of int
        The first index, if the maximum occurs more than once. NaN counts as the maximum.

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
    return apply(numpy_rules.ARGMAX, a, axis, None, out, keepdims)
