"""NumPy's own inner loops of ufuncs, found through `ufunc._get_strided_loop`."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

# The layout of the structure belongs to this name: another layout gets another name.
_CAPSULE = b"numpy_1.24_ufunc_call_info"


class _CallInfo(ctypes.Structure):
    """The fields that NumPy documents in the docstring of `ufunc._get_strided_loop`."""

    _fields_ = (
        ("strided_loop", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
        ("auxdata", ctypes.c_void_p),
        ("requires_pyapi", ctypes.c_bool),
        ("no_floatingpoint_errors", ctypes.c_bool),
    )


class NumpyLoop(NamedTuple):
    """An inner loop of NumPy's, ``int function(context, data, length, steps, auxdata)``.

    Attributes
    ----------
    function, context, auxdata : int
        Addresses.
    owner : object
        Owns what the addresses point to, and has to live as long as they are used.
    """

    function: int
    context: int
    auxdata: int
    owner: Any


def find_loop(ufunc: Any, dtypes: tuple[np.dtype[Any], ...]) -> NumpyLoop | None:
    """Return NumPy's loop of a ufunc that needs neither casts nor the GIL.

    Parameters
    ----------
    ufunc : numpy.ufunc
    dtypes : tuple of dtype
        Those of the inputs and of the output.

    Returns
    -------
    NumpyLoop or None
        None if there is no such loop, or if this version of NumPy describes its loops in another
        way.
    """
    try:
        found, info = ufunc._resolve_dtypes_and_context(dtypes)  # noqa: SLF001 - has no public name
        ufunc._get_strided_loop(info)  # noqa: SLF001 - fills in the capsule
        call = _CallInfo.from_address(_pointer_of(info, _CAPSULE))
    except (AttributeError, TypeError, ValueError):
        return None
    if found != dtypes or call.requires_pyapi or not call.strided_loop:
        return None
    return NumpyLoop(call.strided_loop, call.context or 0, call.auxdata or 0, info)


_pointer_of: Any = ctypes.pythonapi["PyCapsule_GetPointer"]
_pointer_of.restype = ctypes.c_void_p
_pointer_of.argtypes = ctypes.py_object, ctypes.c_char_p
