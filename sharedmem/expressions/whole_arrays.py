"""Whole arrays computed by one kernel whose work threads share: expressions, and NumPy's ufuncs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import is_present
from sharedmem.engine.line_view import memory_order
from sharedmem.expressions.binding import bind
from sharedmem.expressions.fusion import fuse
from sharedmem.expressions.kernel import Kernel
from sharedmem.expressions.language import UFUNCS, Call, Name
from sharedmem.machine import float_flags
from sharedmem.machine.tuning import tuning

if TYPE_CHECKING:  # which would import numba
    from sharedmem.kernels.loops.pieces import Share

Array = NDArray[Any]

_NAMES = {ufunc: name for name, ufunc in UFUNCS.items()}


def compute_whole(
    kernel: Kernel, operands: Sequence[Array], out: Array, size: int, share: Share | None = None
) -> int | None:
    """Compute all of `out`, of a result of `size` elements, if the arrays are as kernels need them.

    Parameters
    ----------
    share : callable, optional
        Calls a function in several threads, which share the work.

    Returns
    -------
    int or None
        Exceptions for `float_flags.tell`; None if the arrays have to be cut.
    """
    axes = memory_order(out.strides)
    *operands, out = parts = [x.transpose(axes) for x in (*operands, out)]
    if out.dtype != kernel.dtype or not all(map(is_plain, parts)):
        return None
    if share is not None and not is_present(out):
        return None
    is_apart = not any(np.may_share_memory(out, x) for x in operands)
    return kernel(operands, out, is_apart and size * out.itemsize >= tuning.streamed_bytes, share)


def is_plain(a: Array) -> bool:
    """Return whether an array is C-contiguous, aligned, and native."""
    return a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative


class WholeUfunc:
    """One of NumPy's ufuncs that a kernel can compute, to the same bits and with its warnings."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self._ufunc = ufunc
        self.nin, self.nout = ufunc.nin, ufunc.nout
        self.__name__ = ufunc.__name__

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Compute a chunk by NumPy."""
        return self._ufunc(*inputs, **options)

    def together(self, share: Share, operands: Sequence[Any], out: Array) -> bool:
        """Compute all of `out` in threads that share the work; return whether it was possible."""
        if out.nbytes < tuning.compiled_ufunc_bytes or not float_flags.addresses():
            return False
        values = {
            str(at): x.flat[0] if isinstance(x, np.ndarray) and not any(x.strides) else x
            for at, x in enumerate(operands)
        }
        arrays = [x for x in values.values() if isinstance(x, np.ndarray)]
        if not arrays:
            return False
        call = Call(_NAMES[self._ufunc], tuple(range(len(values))))
        steps, _, scalars = bind((*map(Name, values), call), values)
        kernel = fuse(steps, tuple(x.dtype for x in arrays), scalars, is_exact=True)
        noted = compute_whole(kernel, arrays, out, out.size, share) if kernel else None
        if noted is None:
            return False
        if out.dtype.kind != "b":  # NumPy's comparisons tell nothing of NaN
            float_flags.tell(noted, self.__name__)
        return True


def as_whole(ufunc: Any) -> Any:
    """Return a ufunc in a form that a kernel can compute, if it is one of those."""
    return WholeUfunc(ufunc) if isinstance(ufunc, np.ufunc) and ufunc in _NAMES else ufunc
