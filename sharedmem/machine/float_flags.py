"""Floating-point exceptions of kernels and ufuncs, reported as NumPy reports them."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from collections.abc import Callable, Set
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from sharedmem.errors import warn_caller
from sharedmem.kernels.quiet import called_in, error_state

T = TypeVar("T")

# As fenv.h has them.
_BITS = {
    "x86_64": {"invalid": 1, "divide": 4, "over": 8, "under": 16},
    "aarch64": {"invalid": 1, "divide": 2, "over": 4, "under": 8},
}.get(platform.machine(), {})
_WORDS = {
    "divide": "divide by zero", "over": "overflow", "under": "underflow", "invalid": "invalid value"
}  # fmt: skip
# The flags that the function of `numpy.seterrcall` gets.
_FLAGS = {"divide": 1, "over": 2, "under": 4, "invalid": 8}
MASK = sum(_BITS.values())


@functools.cache
def addresses() -> tuple[int, ...]:
    """Return the addresses of `feclearexcept` and `fetestexcept`; empty without them."""
    try:
        library = ctypes.CDLL(None)
        functions = [library.feclearexcept, library.fetestexcept]
    except (OSError, AttributeError):
        return ()
    found = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions]
    return tuple(found) if _BITS else ()


def tell(noted: int, name: str) -> None:
    """Warn or raise as NumPy does, by this thread's error state.

    Parameters
    ----------
    noted : int
        The exceptions, as the bits of :data:`MASK`.
    name : str
        The ufunc that was computed.

    Raises
    ------
    FloatingPointError
        If `numpy.errstate` asks for it.
    """
    if noted:
        tell_kinds({kind for kind in _WORDS if noted & _BITS[kind]}, name)


def tell_kinds(kinds: Set[str], name: str) -> None:
    """Report errors by their names in `numpy.errstate`, as :func:`tell` does."""
    modes: Any = np.geterr()
    receiver: Any = np.geterrcall()
    told = [kind for kind in _WORDS if kind in kinds]
    for kind in sorted(told, key=lambda kind: modes[kind] != "raise"):
        text = f"{_WORDS[kind]} encountered in {name}"
        if modes[kind] == "raise":
            raise FloatingPointError(text)
        if modes[kind] == "warn":
            warn_caller(text)
        elif modes[kind] == "print":
            print(f"Warning: {text}", file=sys.stderr)
        elif modes[kind] == "call":
            receiver(_WORDS[kind], _FLAGS[kind])
        elif modes[kind] == "log":
            receiver.write(f"Warning: {text}\n")


_words: ContextVar[set[str]] = ContextVar("words")
_noting = error_state("call", lambda word, _: _words.get().add(word))


def warned_at_caller(name: str, function: Callable[..., T], *args: Any, **named: Any) -> T:
    """Call a function; tell of the exceptions of a ufunc in it as :func:`tell` does, and once.

    NumPy would warn in each thread, and name the line that applies the ufunc to a chunk.
    """
    words: set[str] = set()
    result = called_in((*_noting, (_words, words)), function, *args, **named)
    if words:
        tell_kinds({kind for kind, word in _WORDS.items() if word in words}, name)
    return result
