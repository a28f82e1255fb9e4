"""Variances, moments, and summaries, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.engine.operands import as_array
from sharedmem.engine.reduce import Axis
from sharedmem.functions import numpy_rules
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.nonfinite import told
from sharedmem.functions.numpy_rules import apply, degrees_lost
from sharedmem.kernels import Reduction, moments as four_moments
from sharedmem.kernels.moments import Moments, Summary


def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the variance, as `numpy.var` does but from one pass over the array.

    Parameters
    ----------
    a, axis, out, keepdims, where
        As for :func:`sum`.
    dtype : dtype, optional
        Type of the result, by default that of `a`, or float64 for integers.
    ddof : float, optional
        The sum of squares is divided by the number of elements less `ddof`.
    mean : array_like, optional
        The mean, where it is known, shaped as with ``keepdims=True``. NumPy does these, serially.
    correction : float, optional
        Another name of `ddof`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.var([1, 2, 3, 4], ddof=1))
    1.6666666666666667
    """
    return apply(
        numpy_rules.VAR, a, axis, dtype, out, keepdims,
        where=where, ddof=degrees_lost(ddof, correction), mean=mean,
    )  # fmt: skip


def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the standard deviation, the square root of :func:`var`.

    Parameters
    ----------
    a, axis, dtype, out, ddof, keepdims, where, mean, correction
        As for :func:`var`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.std([1, 1, 3, 3]))
    1.0
    """
    return apply(
        numpy_rules.STD, a, axis, dtype, out, keepdims,
        where=where, ddof=degrees_lost(ddof, correction), mean=mean,
    )  # fmt: skip


def moments(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Moments:
    """Return mean, variance, skew and kurtosis, from one pass over the array.

    Parameters
    ----------
    a : array_like of real numbers
    axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    Moments
        ``(mean, var, skew, kurtosis)`` in float64, with the definitions (and the defaults) of
        `scipy.stats`: biased, and a kurtosis of zero for normal distributions.
        Skew and kurtosis do not depend on the scale of the elements.

    Examples
    --------
    >>> import sharedmem
    >>> result = sharedmem.moments([1, 2, 3, 4])
    >>> float(result.mean), float(result.kurtosis)
    (2.5, -1.36)
    """
    a = as_array(a)
    result = reduce(four_moments.extended(a.dtype), a, axis, keepdims=keepdims)
    moments = Moments(
        *_with_room(result, result.extent, four_moments.extended, a, axis, keepdims)[:4]
    )
    told(moments.var, "reduce", a, axis=axis)
    return moments


def summary(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Summary:
    """Return what an array holds, from one pass over it.

    Parameters
    ----------
    a : array_like of real numbers
    axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    Summary
        ``(count, n_nan, n_inf, min, max, mean, std, skew, kurtosis)``; from `min` on of the finite
        elements alone, in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from sharedmem.functions.variance import summary
    >>> result = summary([1.0, 3.0, np.nan])
    >>> int(result.n_nan), float(result.mean)
    (1, 2.0)
    """
    a = as_array(a)
    result: Summary = reduce(four_moments.summary(a.dtype), a, axis, keepdims=keepdims)
    with np.errstate(over="ignore"):
        extent = result.max - result.min
    return _with_room(result, extent, four_moments.summary, a, axis, keepdims)  # type: ignore[no-any-return]


def _with_room(
    result: Any, extent: Any, make: Callable[..., Reduction], a: Any, axis: Axis, keepdims: bool
) -> Any:
    """Work deviations and their powers out once more where they are too large or too small."""
    for least, most, power in four_moments.SCALES:
        beyond = (extent >= least) & (extent <= most)
        if a.dtype.kind == "f" and np.any(beyond):
            scaled = reduce(make(a.dtype, power), a, axis, keepdims=keepdims)
            better = {
                name: np.where(beyond, part, getattr(result, name))[()]
                for name, part in scaled._asdict().items()
                if name in ("var", "std", "skew", "kurtosis")
            }
            result = result._replace(**better)
    return result
