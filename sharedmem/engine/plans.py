"""Plans: calls of kernels on arrays of one form, of which nothing is worked out a second time.

What other calls work out in Python takes longer than to reduce a small array.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels.loops.lines import OUT, STATE, X
from sharedmem.kernels.loops.pieces import KernelSpec, line_call
from sharedmem.kernels.machine_code import Code, check, compile_text, load_functions
from sharedmem.machine import native_threads

# A plan: the address of a kernel, how many words its block has, the words that are addresses of
# elements, those that are offsets into the block itself, and a block to copy.
_TEXT = f"""
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal i64 @word(ptr %at, i64 %n) {{
  %p = getelementptr i64, ptr %at, i64 %n
  %w = load i64, ptr %p
  ret i64 %w
}}

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
  %n.words = call i64 @word(ptr %plan, i64 1)
  %x.word = call i64 @word(ptr %plan, i64 2)
  %out.word = call i64 @word(ptr %plan, i64 3)
  %n.inner = call i64 @word(ptr %plan, i64 4)
  %inner = getelementptr i64, ptr %plan, i64 5
  %words = getelementptr i64, ptr %inner, i64 %n.inner
  %block = alloca i64, i64 %n.words, align 64
  %size = mul i64 %n.words, 8
  call void @llvm.memcpy.p0.p0.i64(ptr %block, ptr %words, i64 %size, i1 false)
  call void @point(ptr %block, i64 %x.word, ptr %array)
  call void @point(ptr %block, i64 %out.word, ptr %out)
  %base = ptrtoint ptr %block to i64
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %move ]
  %is.more = icmp slt i64 %i, %n.inner
  br i1 %is.more, label %move, label %call
move:
  %which = call i64 @word(ptr %inner, i64 %i)
  %offset = call i64 @word(ptr %block, i64 %which)
  %address = add i64 %base, %offset
  %at = getelementptr i64, ptr %block, i64 %which
  store i64 %address, ptr %at
  %i.next = add i64 %i, 1
  br label %next
call:
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


class Plan:
    """A call of a kernel that reads an array and writes another one, of known forms.

    Parameters
    ----------
    code : Code
        The kernel.
    words : sequence of int
        Its block, which may be longer than the kernel expects.
    x, out : int
        The words that are the addresses of the first elements of the two arrays.
    inner : sequence of int
        The words that are addresses in the block: here, offsets in bytes.
    """

    def __init__(
        self, code: Code, words: Sequence[int], x: int, out: int, inner: Sequence[int] = ()
    ) -> None:
        plan = code.address, len(words), x, out, len(inner), *inner, *words
        self._memory = (ctypes.c_int64 * len(plan))(*plan)
        self._address = ctypes.addressof(self._memory)
        self._apply = _apply()

    def __call__(self, a: NDArray[Any], out: NDArray[Any], n_threads: int = 1) -> None:
        """Call the kernel in so many threads; only the addresses of the arrays are looked at."""
        others = native_threads.helpers(n_threads - 1) if n_threads > 1 else _NO_OTHERS
        check(self._apply(self._address, id(a), id(out), *others))


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
        self._plan = Plan(code, words, X, OUT, [STATE] if n_bytes else [])
        self.dtype = np.dtype(spec.result or spec.dtype)

    def __call__(self, a: NDArray[Any], n_threads: int) -> Any:
        """Return the result, as a scalar of NumPy."""
        out = np.empty(1, self.dtype)
        self._plan(a, out, n_threads)
        return out[0]


@functools.cache
def _apply() -> Callable[..., int]:
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    find = load_functions("plans", (_TEXT,), lambda: compile_text(_TEXT))
    kind = ctypes.CFUNCTYPE(number, pointer, pointer, pointer, pointer, pointer, number)
    return kind(find("apply"))
