"""Plans: reductions of arrays of one form, of which nothing is worked out a second time.

What other calls work out in Python takes longer than to reduce a small array.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels.loops.lines import OUT, STATE, X
from sharedmem.kernels.loops.pieces import KernelSpec, line_call
from sharedmem.kernels.machine_code import check, compile_text, load_functions
from sharedmem.machine import native_threads

# A plan: the address of a kernel, the number of words of its block, and a block to copy, in which
# STATE is the offset of the states, or 0 if there are none.
_TEXT = f"""
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal void @point(ptr %block, i64 %word, ptr %array) {{
  %elements.at = getelementptr i8, ptr %array, i64 {object.__basicsize__}
  %elements = load ptr, ptr %elements.at
  %at = getelementptr i64, ptr %block, i64 %word
  store ptr %elements, ptr %at
  ret void
}}

define i32 @apply(ptr %plan, ptr %array, ptr %out, ptr %run, ptr %team, i32 %n) {{
entry:
  %kernel = load ptr, ptr %plan
  %n.words.at = getelementptr i64, ptr %plan, i64 1
  %n.words = load i64, ptr %n.words.at
  %words = getelementptr i64, ptr %plan, i64 2
  %block = alloca i64, i64 %n.words, align 64
  %size = mul i64 %n.words, 8
  call void @llvm.memcpy.p0.p0.i64(ptr %block, ptr %words, i64 %size, i1 false)
  call void @point(ptr %block, i64 {X}, ptr %array)
  call void @point(ptr %block, i64 {OUT}, ptr %out)
  %state.at = getelementptr i64, ptr %block, i64 {STATE}
  %offset = load i64, ptr %state.at
  %states = getelementptr i8, ptr %block, i64 %offset
  %has.none = icmp eq i64 %offset, 0
  %state = select i1 %has.none, ptr null, ptr %states
  store ptr %state, ptr %state.at
  %is.alone = icmp eq i32 %n, 0
  br i1 %is.alone, label %serial, label %parallel
serial:
  %first = call i32 %kernel(ptr %block)
  ret i32 %first
parallel:
  %second = call i32 %run(ptr %team, ptr %kernel, ptr %block, i32 %n)
  ret i32 %second
}}
"""
_NO_OTHERS = 0, 0, 0


class NumberPlan:
    """The reduction of `n` elements of `dtype`, contiguous in memory, to a number.

    Parameters
    ----------
    spec : KernelSpec
        The kernel, which takes elements of this type.
    dtype : dtype
    n : int
    """

    def __init__(self, spec: KernelSpec, dtype: np.dtype[Any], n: int) -> None:
        code, words, n_bytes = line_call(spec, dtype, n)
        words[STATE] = 8 * len(words) if n_bytes else 0
        words += [0] * -(-n_bytes // 8)
        plan = code.address, len(words), *words
        self._memory = (ctypes.c_int64 * len(plan))(*plan)
        self._address = ctypes.addressof(self._memory)
        self._apply = _apply()
        self.dtype = np.dtype(spec.result or spec.dtype)

    def __call__(self, a: NDArray[Any], n_threads: int) -> Any:
        """Return the result, as a scalar of NumPy; only the address of the array is looked at."""
        out = np.empty(1, self.dtype)
        others = native_threads.helpers(n_threads - 1) if n_threads > 1 else _NO_OTHERS
        check(self._apply(self._address, id(a), id(out), *others))
        return out[0]


@functools.cache
def _apply() -> Callable[..., int]:
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    find = load_functions("plans", (_TEXT,), lambda: compile_text(_TEXT))
    kind = ctypes.CFUNCTYPE(number, pointer, pointer, pointer, pointer, pointer, number)
    return kind(find("apply"))
