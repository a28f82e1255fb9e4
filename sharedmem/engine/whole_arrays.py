"""Ufuncs of arrays of one shape, in memory: one call, without chunks and views.

To look for these takes longer than to compute small arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import allocate
from sharedmem.engine.operands import PLAIN, is_number, is_same_view
from sharedmem.engine.runners import ArrayRunner

Array = NDArray[Any]

# Flags of an array: aligned, and in C order.
_DENSE = 0x100 | 0x1
# The words of an expression's block with the elements that are claimed, and all.
_ELEMENTS = 0, 8


def apply_whole(
    runner: ArrayRunner, ufunc: Any, inputs: Sequence[Any], out: Any
) -> tuple[Any, bool]:
    """Apply a ufunc to arrays of one shape and to numbers, if one call can do it.

    Returns
    -------
    out : array
        `out`, or an array for the result if it is known which.
    is_done : bool
        Whether the result is in it.
    """
    arrays: list[Array] = []
    for x in inputs:
        if type(x) in PLAIN:
            is_dense = x.flags.num & _DENSE == _DENSE and x.dtype.kind in "biufc"
            if not is_dense or (arrays and x.shape != arrays[0].shape):
                return out, False
            arrays.append(x)
        elif not is_number(x):
            return out, False
    shape = arrays[0].shape if arrays else ()
    form = runner.form_of(ufunc, inputs) if shape else None
    if form is None:
        return out, False
    if out is None:
        out = allocate(shape, form.dtype, range(len(shape)))
    elif not _can_write(out, shape, form.dtype, arrays):
        return out, False
    if form.is_small(out):
        form.by_numpy(inputs, out)
        return out, True
    share = runner.share(out.nbytes + sum(a.nbytes for a in arrays), _ELEMENTS)
    return out, form.together(share, inputs, out)


def compute_together(
    runner: ArrayRunner, ufunc: Any, nbytes: int, inputs: Sequence[Any], out: Any
) -> bool:
    """Compute all of a large `out` by one kernel, if there is one for it; return whether it did.

    All inputs are broadcast to its shape, and `nbytes` are read and written.
    """
    form = runner.form_of(ufunc, inputs)
    if form is None or form.is_small(out):
        return False
    return form.together(runner.share(nbytes, _ELEMENTS), inputs, out)


def _can_write(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], arrays: list[Array]) -> bool:
    """Return whether a result can be written to `out` while the arrays are read."""
    if type(out) not in PLAIN or out.shape != shape or out.dtype != dtype:
        return False
    if not out.flags.carray or (type(out) is np.ndarray and out.base is not None):
        return False  # memory of another object may be a file, which has to be asked for room
    others = [a for a in arrays if a is not out]
    return all(is_same_view(a, out) or not np.may_share_memory(a, out) for a in others)
