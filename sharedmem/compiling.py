"""Having a user's kernel compiled in the coordinator, before any work starts."""

from __future__ import annotations

from typing import Any


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
