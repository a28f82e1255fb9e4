"""Calls of kernels that are emitted, and compiled when they are first called for a type."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from sharedmem.kernels import machine_code
from sharedmem.kernels.loops.emit import Block, entry

# ``emit(code, block, *form)`` emits a kernel for a form: a tuple of what its code depends on.
Emit = Callable[..., None]
# The word of the block that a result replaces.
RESULT = 0


def call(emit: Emit, form: tuple[Any, ...], *words: int) -> int:
    """Call a kernel with a block of words, in this thread; return its result, or the first word."""
    block = (ctypes.c_int64 * len(words))(*words)
    machine_code.alone(_code(emit, form), ctypes.addressof(block))
    return block[RESULT]


@cache
def _code(emit: Emit, form: tuple[Any, ...]) -> machine_code.Code:
    """Return the machine code of a kernel, compiled now if it is in no file."""

    def make() -> bytes:
        code = entry()
        emit(code, Block(code), *form)
        code.leave()
        return machine_code.compile_text(str(code.module))

    name = f"{emit.__module__.rpartition('.')[2]}-{emit.__name__.removeprefix('_emit_')}"
    return machine_code.load(name, (name, *map(str, form)), make)


def bits(number: float) -> int:
    """Return a float64 as a word of a block."""
    return int(struct.unpack("q", struct.pack("d", number))[0])
