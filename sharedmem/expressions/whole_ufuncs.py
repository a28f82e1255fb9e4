"""NumPy's ufuncs on whole arrays, by one kernel whose work threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.expressions.binding import bind
from sharedmem.expressions.fusion import fuse
from sharedmem.expressions.language import UFUNCS, Call, Name
from sharedmem.kernels.machine_code import Share
from sharedmem.machine import float_flags
from sharedmem.machine.tuning import tuning

NAMES = {ufunc: name for name, ufunc in UFUNCS.items()}


def together_of(ufunc: Any) -> Callable[..., bool] | None:
    """Return what computes all of an array by a kernel, for ufuncs of NumPy and expressions."""
    if isinstance(ufunc, np.ufunc):
        return partial(_compute_together, ufunc) if ufunc in NAMES else None
    return getattr(ufunc, "together", None)


def _compute_together(
    ufunc: np.ufunc, share: Share, operands: Sequence[Any], out: NDArray[Any]
) -> bool:
    """Compute all of `out`, to NumPy's bits, with its warnings; return whether it was possible."""
    if out.nbytes < tuning.compiled_ufunc_bytes or not float_flags.addresses():
        return False
    values = {
        str(at): x.flat[0] if isinstance(x, np.ndarray) and not any(x.strides) else x
        for at, x in enumerate(operands)
    }
    arrays = [x for x in values.values() if isinstance(x, np.ndarray)]
    if not arrays:
        return False
    call = Call(NAMES[ufunc], tuple(range(len(values))))
    steps, _, scalars = bind((*map(Name, values), call), values)
    kernel = fuse(steps, tuple(x.dtype for x in arrays), scalars, is_exact=True)
    noted = kernel.compute_whole(arrays, out, out.size, share) if kernel else None
    if noted is None:
        return False
    if out.dtype.kind != "b":  # NumPy's comparisons tell nothing of NaN
        float_flags.tell(noted, ufunc.__name__)
    return True
