"""A user's kernel: compiled in the coordinator before work starts, and where it may run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sharedmem.errors import WorkerException, warn_caller

_serial_forms: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def compile_for(kernel: Any, *args: Any) -> Any:
    """Compile `kernel` for the types of `args` and return its signature, if numba compiles it.

    An error then surfaces once, and forked workers inherit the compiled code. A kernel that was
    compiled for signatures is called with what one of them takes, by conversion perhaps.

    Raises
    ------
    TypeError
        If no signature of the kernel takes `args`.
    """
    if not (hasattr(kernel, "py_func") and hasattr(kernel, "compile")):
        return None
    import numba

    typeof: Any = numba.typeof
    types = tuple(typeof(arg) for arg in args)
    if getattr(kernel, "_can_compile", True):
        if types not in kernel.overloads:
            kernel.compile(types)
        return kernel.overloads[types].signature
    given = [each for each in kernel.nopython_signatures if len(each.args) == len(types)]
    found = kernel.typingctx.resolve_overload(kernel, given, types, {})
    if found is None:
        raise TypeError(
            f"kernel {kernel.__name__} was compiled for {kernel.nopython_signatures}, none of "
            f"which accepts {types}: add this signature, or omit all signatures"
        )
    return found


def takes(kernel: Any, *args: Any) -> bool:
    """Return whether `kernel` takes `args`: it may have been compiled for other types only."""
    try:
        compile_for(kernel, *args)
    except TypeError:
        return False
    return True


class _ReturnedError(TypeError):
    """Raised, perhaps in a worker, if a kernel returns something."""


def compile_kernel(kernel: Any, *args: Any) -> None:
    """Compile a kernel that writes to its arguments; refuse one that returns something."""
    signature = compile_for(kernel, *args)
    if signature is not None:
        import numba

        result = signature.return_type
        # In object mode, the type of the result is known only after the call.
        if result not in (None, numba.types.none, numba.types.pyobject):
            raise TypeError(_refusal(kernel, str(result)))


def check_result(kernel: Any, result: Any, arguments: Sequence[Any]) -> None:
    """Refuse a value that a kernel returns, since it would be lost.

    A function of Python may return one of its own arguments, as ufuncs do with ``out``.
    """
    if result is not None and not any(result is argument for argument in arguments):
        raise _ReturnedError(_refusal(kernel, f"an object of type {type(result).__name__}"))


def _refusal(kernel: Any, what: str) -> str:
    return (
        f"kernel {getattr(kernel, '__name__', kernel)} returns {what}, which would be lost: it "
        "must return None, and write its result to its chunk of out= (without out=, to that of the "
        "first array)"
    )


def run_kernel(
    run: Callable[[Any, Any], Any], task: Callable[[Any], Any], chunks: Sequence[Any]
) -> None:
    """Run the tasks of a kernel; one that returns something is a TypeError on every team."""
    try:
        run(task, chunks)
    except (_ReturnedError, WorkerException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, _ReturnedError):
            raise TypeError(str(reason)) from None
        raise


def serial_form(kernel: Any) -> Any:
    """Return a callable `kernel`, or, if it has parallel loops, one compiled without them.

    Such loops start threads. libgomp ends a forked process that enters one, and another threading
    layer of numba's one in which two threads do.
    """
    if not callable(kernel):
        raise TypeError(f"kernel must be callable, got {kernel!r}")
    options = getattr(kernel, "targetoptions", {})
    if not options.get("parallel"):
        return kernel
    if kernel not in _serial_forms:
        import numba

        _serial_forms[kernel] = numba.jit(**{**options, "parallel": False})(kernel.py_func)
    return _serial_forms[kernel]


def releases_gil(kernel: Any) -> bool:
    """Return whether a compiled kernel releases the GIL."""
    return bool(getattr(kernel, "targetoptions", {}).get("nogil"))


def warn_of_gil(kernel: Any) -> None:
    """Warn of a kernel that holds the GIL if it is compiled: threads call it one by one."""
    if hasattr(kernel, "targetoptions"):
        warn_caller(
            f"kernel {kernel.__name__} holds the GIL, so that threads wait for each other; compile "
            "it with numba.njit(nogil=True)"
        )
