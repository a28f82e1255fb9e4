"""A user's kernel: compiled in the coordinator before work starts, and where it may run."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

_serial_forms: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def compile_for(kernel: Any, *args: Any) -> None:
    """Compile `kernel` for the types of `args`, if it is a numba function.

    An error then surfaces once, and forked workers inherit the compiled code.
    """
    if hasattr(kernel, "py_func") and hasattr(kernel, "compile"):
        import numba

        typeof: Any = numba.typeof
        types = tuple(typeof(arg) for arg in args)
        if types not in kernel.overloads:
            kernel.compile(types)


def serial_form(kernel: Any) -> Any:
    """Return `kernel`, or, if it has parallel loops, one that is compiled without them.

    Such loops start threads. libgomp ends a forked process that enters one, and another threading
    layer of numba's one in which two threads do.
    """
    options = getattr(kernel, "targetoptions", {})
    if not options.get("parallel"):
        return kernel
    if kernel not in _serial_forms:
        import numba

        _serial_forms[kernel] = numba.jit(**{**options, "parallel": False})(kernel.py_func)
    return _serial_forms[kernel]


def releases_gil(kernel: Any) -> bool:
    """Whether threads of the caller work on chunks at the same time, if each calls `kernel`."""
    return bool(getattr(kernel, "targetoptions", {}).get("nogil"))


def warn_of_gil(kernel: Any) -> None:
    """Warn of a compiled kernel that threads call one after the other."""
    if hasattr(kernel, "targetoptions") and not releases_gil(kernel):
        warnings.warn(
            f"kernel {kernel.__name__} holds the interpreter's lock, so that threads wait for each "
            "other; compile it with numba.njit(nogil=True)",
            RuntimeWarning,
            stacklevel=3,
        )
