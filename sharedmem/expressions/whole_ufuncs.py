"""NumPy's ufuncs on whole arrays: by NumPy, or by one kernel whose work threads share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.operands import PLAIN, is_number
from sharedmem.engine.runners import Form
from sharedmem.kernels.machine_code import Share
from sharedmem.machine import float_flags
from sharedmem.machine.tuning import tuning

MAX_FORMS = 512

_forms: dict[Any, UfuncForm | None] = {}
_UNKNOWN = object()


def form_of(ufunc: Any, inputs: Sequence[Any]) -> Form | None:
    """Return the form of a ufunc or an expression for inputs of these types."""
    if not isinstance(ufunc, np.ufunc):
        return ufunc if hasattr(ufunc, "together") else None
    key = ufunc, *map(kind_of, inputs)
    form: Any = _forms.get(key, _UNKNOWN)
    if form is _UNKNOWN:
        if len(_forms) >= MAX_FORMS:
            _forms.clear()
        is_known = all(kind is not None for kind in key)
        form = _forms[key] = _new_form(ufunc, inputs) if is_known else None
    return form  # type: ignore[no-any-return]


def kind_of(x: Any) -> Any:
    """Return what code is made for: the dtype of an array, or the type and the digits of a number.

    An array that is broadcast from one element is a number. None of what is neither.
    """
    if type(x) in PLAIN:
        if any(x.strides):
            return x.dtype
        x = x.flat[0] if x.size else None
    # Equal numbers may differ, such as 0.0 and -0.0.
    return (type(x), repr(x)) if is_number(x) else None


def _new_form(ufunc: np.ufunc, inputs: Sequence[Any]) -> UfuncForm | None:
    if type(ufunc) is not np.ufunc or ufunc.signature or ufunc.nout != 1:
        return None
    values = [np.empty(1, x.dtype) if _is_array(x) else _number(x) for x in inputs]
    types = [type(x) if type(x) in (int, float, complex) else x.dtype for x in values]
    try:
        *_, dtype = ufunc.resolve_dtypes((*types, None))
    except (TypeError, ValueError):  # which NumPy says again when it is called
        return None
    return UfuncForm(ufunc, dtype, values)


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) and any(x.strides)


def _number(x: Any) -> Any:
    x = x.flat[0] if isinstance(x, np.ndarray) else x
    return np.bool_(x) if isinstance(x, bool) else x


class UfuncForm:
    """A ufunc of NumPy for inputs of certain types: see `sharedmem.engine.runners.Form`."""

    def __init__(self, ufunc: np.ufunc, dtype: np.dtype[Any], values: Sequence[Any]) -> None:
        self.dtype = dtype
        self._ufunc, self._name = ufunc, ufunc.__name__
        self._values = values
        self._kernel: Any = _UNKNOWN

    def is_small(self, out: NDArray[Any]) -> bool:
        """Return whether NumPy computes `out` in less time than threads."""
        return out.nbytes < tuning.compiled_ufunc_bytes

    def by_numpy(self, inputs: Sequence[Any], out: NDArray[Any]) -> None:
        """Compute all of `out`."""
        float_flags.warned_at_caller(self._name, self._ufunc, *inputs, out=out)

    def together(self, share: Share, inputs: Sequence[Any], out: NDArray[Any]) -> bool:
        """Compute all of `out`, with NumPy's bits and warnings; return whether it can be done."""
        if self._kernel is _UNKNOWN:
            self._kernel = _compiler()(self._ufunc, self._values)
        if self._kernel is None or not float_flags.addresses():
            return False
        noted = self._kernel.compute_whole(list(filter(_is_array, inputs)), out, out.size, share)
        if noted is None:
            return False
        if out.dtype.kind != "b":  # NumPy's comparisons tell nothing of NaN
            float_flags.tell(noted, self._name)
        return True


@functools.cache
def _compiler() -> Callable[..., Any]:
    from sharedmem.expressions.fusion import fuse_ufunc  # which small arrays do not need

    return fuse_ufunc
