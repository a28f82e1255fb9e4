"""Whole arrays computed by one kernel whose work threads share: expressions, and NumPy's ufuncs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sharedmem import float_errors
from sharedmem.array import is_present
from sharedmem.expressions import FUNCTIONS, Call, Operand, Scalar, kind_of
from sharedmem.fusing import UFUNCS, Kernel, fuse
from sharedmem.lines import memory_order

if TYPE_CHECKING:  # which would import numba
    from sharedmem.kernels.pieces import Share

Array = NDArray[Any]

# Results of so many bytes are written past the caches (a + 1 into memory that is there, medians of
# interleaved calls: 8 MiB 1.23 ms instead of 1.48, 128 MiB 10.8 instead of 14.2; 1 MiB as before).
_LARGE = 8 << 20
# A ufunc is compiled for results of so many bytes: it takes as long as NumPy takes for 50 MiB.
_WORTHWHILE = 1 << 20

_NAMES = {
    ufunc: name
    for name, ufunc in [*UFUNCS.items(), *FUNCTIONS.items()]
    if isinstance(ufunc, np.ufunc)
}


def compute_whole(
    kernel: Kernel, operands: Sequence[Array], scalars: Sequence[Any], out: Array, share: Share
) -> int | None:
    """Compute all of `out` in threads that share the work.

    Returns
    -------
    int or None
        What :func:`sharedmem.float_errors.tell` tells; None if the arrays have to be cut.
    """
    axes = memory_order(out.strides)
    parts = [x.transpose(axes) for x in (*operands, out)]
    if not (is_direct(kernel, parts) and is_present(out)):
        return None
    return run(kernel, parts, scalars, is_streamed(parts, out.size), share)


def is_direct(kernel: Kernel, parts: Sequence[Array]) -> bool:
    """Say whether a kernel can work on operands and a result, the last part, as they lie."""
    return parts[-1].dtype == kernel.dtype and all(map(is_plain, parts))


def is_plain(a: Array) -> bool:
    """Say whether an array lies in memory as kernels want it."""
    return a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative


def is_streamed(parts: Sequence[Array], size: int) -> bool:
    """Say whether the last part, of a result of `size` elements, is written past the caches."""
    *operands, out = parts
    is_apart = not any(np.may_share_memory(out, x) for x in operands)
    return is_apart and size * out.itemsize >= _LARGE


def run(
    kernel: Kernel,
    parts: Sequence[Array],
    scalars: Sequence[Any],
    streams: bool,
    share: Share | None = None,
) -> int:
    """Run a kernel on plain operands and a result of any shape, the last part."""
    *operands, out = (part.reshape(-1) for part in parts)
    return kernel(operands, scalars, out, streams, share)


class WholeUfunc:
    """One of NumPy's ufuncs that a kernel can compute, to the same bits and with its warnings."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self._ufunc = ufunc
        self.nin, self.nout = ufunc.nin, ufunc.nout
        self.__name__ = ufunc.__name__

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Have NumPy compute a chunk."""
        return self._ufunc(*inputs, **options)

    def together(self, share: Share, operands: Sequence[Any], out: Array) -> bool:
        """Compute all of `out` in threads that share the work, or say that it has to be cut."""
        if out.nbytes < _WORTHWHILE or not float_errors.can_tell():
            return False
        arrays: list[Array] = []
        scalars: list[Any] = []
        arguments: list[Operand | Scalar] = []
        for x in operands:
            if isinstance(x, np.ndarray) and any(x.strides):
                arguments.append(Operand(len(arrays), x.dtype))
                arrays.append(x)
            else:
                scalars.append(x.flat[0] if isinstance(x, np.ndarray) else x)
                arguments.append(Scalar(len(scalars) - 1, kind_of(scalars[-1])))
        call = Call(_NAMES[self._ufunc], tuple(arguments))
        kernel = fuse(call, tuple(x.dtype for x in arrays), is_exact=True)
        if kernel is None:
            return False
        try:
            numbers = kernel.cast(scalars)
        except OverflowError:  # an integer is compared that is beyond the type of the array
            return False
        noted = compute_whole(kernel, arrays, numbers, out, share)
        if noted is None:
            return False
        if out.dtype.kind != "b":  # NumPy's comparisons tell nothing of NaN
            float_errors.tell(noted, self.__name__)
        return True


def as_whole(ufunc: Any) -> Any:
    """Return a ufunc in a form that a kernel can compute, if it is one of those."""
    return WholeUfunc(ufunc) if isinstance(ufunc, np.ufunc) and ufunc in _NAMES else ufunc
