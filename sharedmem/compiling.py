"""A user's kernel: compiled in the coordinator before work starts, and where it may run."""

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


def releases_gil(kernel: Any) -> bool:
    """Whether threads of the caller work on chunks at the same time, if each calls `kernel`.

    A kernel with parallel loops of its own does not qualify: some of numba's threading layers abort
    the process when two threads enter them at once.
    """
    options = getattr(kernel, "targetoptions", {})
    return bool(options.get("nogil")) and not options.get("parallel")
