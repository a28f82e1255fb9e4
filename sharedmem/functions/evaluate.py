"""Expressions of arrays, computed in one pass on the pool in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sharedmem.arrays.labels import EXPRESSIONS, with_labels
from sharedmem.expressions.language import CONSTANTS
from sharedmem.expressions.levels import Plan, plan
from sharedmem.expressions.whole_ufuncs import kind_of
from sharedmem.functions.expression_plans import BoundPlan, as_operand
from sharedmem.kernels.quiet import quiet
from sharedmem.pool.watches import one_call


def evaluate(
    expression: str | Mapping[Any, str] | Sequence[str],
    arrays: Mapping[str, Any] | None = None,
    /,
    *,
    out: Any = None,
    **named: Any,
) -> Any:
    """Evaluate expressions of arrays in one pass, in parallel, without temporary arrays.

    Parameters
    ----------
    expression : str, or mapping or list of str
        An expression of names, numbers, the constants ``pi``, ``e``, ``inf`` and ``nan``,
        parentheses, and what follows; or several, of which equal parts are computed once.

        - ``+ - * / // % **``, ``& | ^ ~ << >>`` and ``< <= > >= == !=``; comparisons may be
          chained, and ``&``, ``|`` and ``~`` mean and, or, and not;
        - ``where(condition, x, y)``, ``clip(x, low, high)``, ``minimum(x, y)``, ``maximum(x, y)``;
        - ``abs conj real imag sign sqrt square reciprocal floor ceil trunc rint``;
        - ``exp expm1 log log10 log1p log2 power(x, y) hypot(x, y) fmod(x, y)``;
        - ``sin cos tan arcsin arccos arctan arctan2(x, y)``, and with ``h`` the hyperbolic ones;
        - ``isnan isfinite isinf``;
        - reductions: ``sum prod min max ptp mean var std any all count_nonzero argmin argmax``, and
          those that ignore NaN: ``nansum nanprod nanmin nanmax nanmean nanvar nanstd nanargmin
          nanargmax``. They take ``axis=`` (an integer, a tuple of integers, or None), also as the
          second argument, and ``keepdims=`` (True or False); ``var`` and ``std`` take ``ddof=``.
    arrays : mapping, optional
        Arrays by name, in addition to `named`: for an array called ``out``, or the columns of a
        table. Names that are not in the expression are ignored.
    out : SharedArray, ndarray, or array in a file of zarr or h5py, optional
        Array for the result. By default a new shared array. It may overlap the other arrays, and
        may have another dtype that NumPy's rule "same_kind" allows. Several expressions take none.
    **named : array_like, array in a file, or number
        Arrays by name, broadcast against each other. Files are read and written chunk by chunk.
        Labels of pandas and xarray have to be equal.

    Returns
    -------
    SharedArray, scalar, or ndarray
        `out`, or the result, with the dtype that NumPy gives it. Of a reduction along an axis, it
        is an ndarray. Several expressions give a dict with the same keys, or a list. Results of all
        axes, or of none, have the labels of the arrays.

    Raises
    ------
    ValueError
        If the expression contains anything else, is longer than 10,000 characters, is nested more
        than 100 levels deep, or has integers beyond 64 bits; if no array is given for a name; if
        shapes cannot be broadcast, or lack the axis of a reduction; or as a reduction raises it,
        such as of no elements. A chain such as ``a + b - c + d`` is one level.
    TypeError
        If NumPy has no such operation for these types, the result cannot be cast to the dtype of
        `out`, or a keyword is not in the expression.

    See Also
    --------
    apply_ufunc : Apply a ufunc of NumPy, SciPy, or numba.
    map_chunks : Call a compiled function on chunks.
    reduce : Reduce an array by a custom reduction.

    Notes
    -----
    The text is never executed as Python. LLVM compiles it to one kernel for the types of the
    arrays, once per process. NumPy computes, in pieces and in parallel, what has no kernel: types
    such as float16, longdouble and datetime64, and powers of signed integers. It also computes
    small arrays.

    Arithmetic has the same bits as NumPy's on contiguous arrays. (NumPy rounds products and
    absolute values of complex numbers differently if the strides are negative.)
    Functions of float32 and float64, from ``exp`` to ``power``, are within 4 units in the last
    place, like NumPy's vectorized ones. Larger arrays use glibc's libmvec if the processor has
    AVX2; NumPy's loops if it has AVX-512, where they are faster, or neither;
    :doc:`/guide/vector-functions` lists the functions. ``log10`` of powers of ten is exact.
    :func:`sharedmem.apply_ufunc` calls NumPy's own functions.

    A reduction has the same bits as the function of that name of the array that its argument would
    be: ``sum(a * b)`` those of ``sharedmem.sum(sharedmem.evaluate("a * b", ...))``, for any number
    of workers; of 0.0 and -0.0, minima and maxima may be either.

    All reductions whose arguments contain no others are computed in one pass over arrays in files.
    In memory there is a pass for those over the same axes, and one for each of ``argmin``,
    ``argmax``, and types without a kernel. What needs their results is a pass of its own:
    ``sum((a - mean(a))**2)`` reads `a` twice. Write ``var(a)`` where one pass is enough.

    There are no warnings: division by zero and overflow give the values that NumPy gives.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> a = np.linspace(0, 1, 5)
    >>> sharedmem.evaluate("where(a < 0.5, a, 1 - a) * scale", a=a, scale=4)
    SharedArray([0., 1., 2., 1., 0.])
    >>> sharedmem.evaluate("0.2 < a < 0.8", a=a).tolist()
    [False, True, True, True, False]
    >>> sharedmem.evaluate("out / in_", {"out": a, "in_": 2}).tolist()
    [0.0, 0.125, 0.25, 0.375, 0.5]

    Reductions, of which the first three read the arrays once:

    >>> b = a**2
    >>> float(sharedmem.evaluate("sum(a*b) / sqrt(sum(a*a) * sum(b*b))", a=a, b=b).round(3))
    0.97
    >>> sharedmem.evaluate("a - mean(a)", a=a).tolist()
    [-0.5, -0.25, 0.0, 0.25, 0.5]
    >>> results = sharedmem.evaluate({"mean": "mean(a*b)", "top": "max(a - b)"}, a=a, b=b)
    >>> float(results["mean"]), float(results["top"])
    (0.3125, 0.25)
    """
    return _evaluate(expression, arrays, named, out)


@quiet
def _evaluate(expression: Any, arrays: Any, named: dict[str, Any], out: Any) -> Any:
    texts = _texts_of(expression)
    if out is not None and not isinstance(expression, str):
        raise TypeError(
            f"out is for the result of one expression, got {type(expression).__name__} of "
            f"{len(texts)}; evaluate the one with out= alone"
        )
    key = _key(texts, named) if arrays is None else None
    bound = _plans.get(key)
    if bound is not None:
        results = _computed(bound, named, out)
    else:
        planned = plan(*texts)
        given = _given({*planned.names}, {} if arrays is None else arrays, named)
        results = _planned(planned, key, given, out)
    if isinstance(expression, str):
        return results[0]
    return dict(zip(expression, results, strict=True)) if hasattr(expression, "keys") else results


@with_labels(EXPRESSIONS, "**values")
def _planned(planned: Plan, key: Any, values: dict[str, Any], out: Any) -> Any:
    """Return the results of expressions that have no bound plan yet, or whose plan is not kept."""
    values = {name: as_operand(value) for name, value in values.items()}
    bound = BoundPlan(planned, values)
    if key is not None:
        if len(_plans) >= MAX_PLANS:
            _plans.clear()
        _plans[key] = bound
    return _computed(bound, values, out)


def _computed(bound: BoundPlan, values: dict[str, Any], out: Any) -> list[Any]:
    compute = _in_phases if bound.has_phases else BoundPlan.results
    return compute(bound, values, out)


MAX_PLANS = 256
_plans: dict[Any, BoundPlan] = {}
_in_phases = one_call(BoundPlan.results)


def _texts_of(expression: Any) -> tuple[str, ...]:
    """Return the texts of an expression, or of several in a mapping, a list, or a tuple."""
    if isinstance(expression, str):
        return (expression,)
    texts = expression.values() if isinstance(expression, Mapping) else expression
    if not isinstance(expression, Mapping | list | tuple):
        raise TypeError(
            "the expression must be a str, or a mapping or a list of them, got "
            f"{type(expression).__name__}"
        )
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"an expression must be a str, got {type(text).__name__}")
    if not texts:
        raise ValueError("no expression is given: the mapping or list of them is empty")
    return tuple(texts)


def _key(texts: tuple[str, ...], named: dict[str, Any]) -> Any:
    """Return what the plan of expressions depends on; None if it is not only of arrays."""
    kinds = [kind_of(x) for x in named.values()]
    if any(kind is None for kind in kinds):
        return None
    return texts, *named, *kinds, *(np.shape(x) for x in named.values())


def _given(used: set[str], arrays: Any, named: dict[str, Any]) -> dict[str, Any]:
    """Return the array or number of each name in an expression; raise if there is none."""
    if not hasattr(arrays, "keys"):
        raise TypeError(
            f"arrays must be a mapping of names to arrays, got {type(arrays).__name__}; give the "
            "array for the result as out=, and others by name"
        )
    told = ", ".join(map(str, (*arrays, *named))) or "none"
    if both := sorted({*arrays} & {*named}):
        raise TypeError(f"{', '.join(both)} are given in the mapping and by name; give them once")
    if unused := sorted({*named} - used):
        raise TypeError(f"{', '.join(unused)} cannot be found in the expression; given: {told}")
    found = {name: arrays[name] for name in sorted(used) if name in arrays} | named
    if unknown := sorted(used - {*found, *CONSTANTS}):
        hint = "; an array of that name is given in a mapping, {'out': array}"
        hint = hint if unknown == ["out"] else ""
        raise ValueError(f"no array is given for {', '.join(unknown)}; given: {told}{hint}")
    return found
