"""NumPy's state of a thread: how errors are reported, and how arrays are printed."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from sharedmem.workers.functions import referred

NumpyState: TypeAlias = tuple[Any, Any, Any]


def numpy_state() -> NumpyState:
    """Return the state of this thread."""
    call = np.geterrcall()
    return np.geterr(), call and referred(call), np.get_printoptions()


def set_numpy_state(state: NumpyState) -> None:
    """Make a state that of this thread."""
    errors, call, printing = state
    np.seterr(**errors)
    np.seterrcall(call)
    np.set_printoptions(**printing)
