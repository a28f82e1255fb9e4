"""Vectorized functions of the C library, where they are faster than NumPy's.

glibc's libmvec is within 4 units of the last place, as NumPy's own loops are where they use
vectors. It is faster than NumPy's loops that take one element after the other, and slower than
those for AVX-512: `benchmarks/tables/vector_functions.py` measures both.

References
----------
.. [1] https://sourceware.org/glibc/wiki/libmvec
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Iterator, Sequence

import numpy as np

from sharedmem.expressions.lowering import Dtype, Emit, Parts, at_width, vector
from sharedmem.kernels.machine_code import processor

# By NumPy's names. log10 of powers of ten has to be exact, and libmvec's is not
# (54 of 600 for float64).
_NAMES = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "log2": "log2",
    "sin": "sin", "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "arctan2": "atan2", "hypot": "hypot", "power": "pow",
}  # fmt: skip
# NumPy's loops for these are vectors on each processor, and those of libmvec slow for large angles;
# its hypot is as fast, and closer.
_LEFT_TO_NUMPY = {(name, np.dtype("f4")) for name in ("sin", "cos", "hypot")}
# NumPy takes one element after the other of these, in what it has compiled for AVX-512, too.
_SCALAR_IN_NUMPY = {("sin", np.dtype("f8")), ("cos", np.dtype("f8"))}
_TYPES = (np.dtype("f4"), np.dtype("f8"))
# Of AVX2.
_REGISTER_BYTES = 32
_CALL = re.compile(r"@(vector\.(\w+)\.v(\d+)f(\d+))\(")


def apply(emit: Emit, function: str, dtype: Dtype, arguments: Sequence[Parts]) -> Parts | None:
    """Apply a function to registers, as `lowering` does; None for what is not there.

    The text calls what :func:`definitions` defines.
    """
    if function not in _NAMES or dtype not in _TYPES or _is_left_to_numpy(function, dtype):
        return None
    name = f"{'v' * len(arguments)}_{_NAMES[function]}"
    if _address(name, dtype.itemsize) is None:
        return None
    form = vector(dtype)
    given = ", ".join(f"{form} {x}" for (x,) in arguments)
    return (emit(f"call {form} @vector.{name}.v#f{8 * dtype.itemsize}({given})"),)


def is_called(text: str) -> bool:
    """Return whether a text calls what :func:`definitions` defines."""
    return "@vector." in text


def definitions(text: str) -> Iterator[str]:
    """Yield the definitions of those functions of vectors that a text calls."""
    for called, name, width, bits in sorted(set(_CALL.findall(text))):
        yield _definition(called, name, int(width), int(bits) // 8)


def _definition(called: str, name: str, width: int, itemsize: int) -> str:
    """Return a function that passes on as many elements as a register holds, one after the other.

    Elements that are fewer are repeated: a result must not depend on how many there are beside it.
    """
    lanes = _REGISTER_BYTES // itemsize
    many, few = (at_width(vector(np.dtype(f"f{itemsize}")), n) for n in (width, lanes))
    names = [f"%x{at}" for at in range(name.index("_"))]
    address = _address(name, itemsize)
    lines, result = [], "poison"
    for first in range(0, width, lanes):
        places = [min(first + lane, width - 1) for lane in range(lanes)]
        parts = [f"%from{first}.{x[1:]}" for x in names]
        lines += [
            f"{part} = shufflevector {many} {x}, {many} poison, {_mask(places)}"
            for part, x in zip(parts, names, strict=True)
        ]
        arguments = ", ".join(f"{few} {part}" for part in parts)
        lines.append(f"%of{first} = call {few} inttoptr (i64 {address} to ptr)({arguments})")
        spread = [lane if 0 <= (lane := at - first) < lanes else None for at in range(width)]
        lines.append(
            f"%wide{first} = shufflevector {few} %of{first}, {few} poison, {_mask(spread)}"
        )
        chosen = [at if at < first else width + at for at in range(width)]
        lines.append(
            f"%upto{first} = shufflevector {many} {result}, {many} %wide{first}, {_mask(chosen)}"
        )
        result = f"%upto{first}"
    header = f"define internal {many} @{called}({', '.join(f'{many} {x}' for x in names)})"
    return "\n".join([f"{header} alwaysinline {{", *lines, f"ret {many} {result}", "}"])


def _mask(places: list[int] | list[int | None]) -> str:
    elements = ("i32 poison" if at is None else f"i32 {at}" for at in places)
    return f"<{len(places)} x i32> <{', '.join(elements)}>"


@functools.cache
def _is_left_to_numpy(function: str, dtype: Dtype) -> bool:
    """Return whether NumPy's loop of a function is faster here, usually one for AVX-512."""
    if (function, dtype) in _LEFT_TO_NUMPY | _SCALAR_IN_NUMPY:
        return (function, dtype) in _LEFT_TO_NUMPY
    try:
        from numpy.lib.introspect import opt_func_info
    except ImportError:  # a NumPy older than 2.2 does not tell
        return False
    found = opt_func_info(func_name=f"^{function}$", signature=dtype.name)
    targets = [loop["current"] for loops in found.values() for loop in loops.values()]
    return any(target.startswith(("AVX512", "X86_V4")) for target in targets)


@functools.cache
def _address(name: str, itemsize: int) -> int | None:
    """Return where a function is, with a ``v`` per argument, if processor and library have it."""
    library = _library()
    if library is None:
        return None
    # As the x86 ABI for functions of vectors has it: d for AVX2, N for no mask.
    symbol = f"_ZGVdN{_REGISTER_BYTES // itemsize}{name}{'f' if itemsize == 4 else ''}"
    try:
        return ctypes.cast(library[symbol], ctypes.c_void_p).value
    except AttributeError:  # a library older than glibc 2.35
        return None


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libmvec.so.1") if "+avx2" in processor()[1] else None
    except OSError:  # no glibc
        return None
