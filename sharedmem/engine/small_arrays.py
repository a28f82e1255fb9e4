"""Ufuncs on small arrays in memory: one call, without chunks, threads, or views.

To look for these would take many times as long as the call.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import SharedArray, allocate
from sharedmem.machine.float_flags import warned_at_caller
from sharedmem.machine.tuning import tuning

# The types of arrays that have no rules of their own.
PLAIN = frozenset({np.ndarray, SharedArray})
_WEAK = frozenset({int, float, complex})


def common_form(arrays: Any) -> tuple[int, ...] | None:
    """Return the shape of small plain arrays, which all have it; None of others.

    Plain are numbers in C order, in memory that is theirs or shared.
    """
    shape = None
    for a in arrays:
        if (
            type(a) not in PLAIN
            or (type(a) is np.ndarray and a.base is not None)  # it may be a part of a file
            or a.dtype.kind not in "biufc"
            or not a.flags.c_contiguous
            or a.nbytes >= tuning.compiled_ufunc_bytes
            or (shape is not None and a.shape != shape)
        ):
            return None
        shape = a.shape
    return shape or None


def apply_small(ufunc: Any, inputs: tuple[Any, ...], out: Any) -> NDArray[Any] | None:
    """Apply a ufunc of NumPy to arrays of one shape and to numbers; None if they are not small."""
    if type(ufunc) is not np.ufunc or ufunc.signature is not None or ufunc.nout != 1:
        return None
    arrays = [x for x in inputs if type(x) not in _WEAK]
    shape = common_form(arrays if out is None else [*arrays, out])
    if shape is None or not arrays or len(inputs) != ufunc.nin:
        return None
    if out is None:
        kinds = tuple(type(x) if type(x) in _WEAK else x.dtype for x in inputs)
        dtype = _result_dtype(ufunc, kinds)
        if dtype is None:
            return None
        out = allocate(shape, dtype, range(len(shape)))
    elif not out.flags.writeable:
        return None
    warned_at_caller(ufunc.__name__, ufunc, *inputs, out)
    return out  # type: ignore[no-any-return]


@functools.lru_cache(512)
def _result_dtype(ufunc: Any, kinds: tuple[Any, ...]) -> Any:
    try:
        return ufunc.resolve_dtypes((*kinds, None))[-1]
    except TypeError:  # which NumPy says again when it is called
        return None
