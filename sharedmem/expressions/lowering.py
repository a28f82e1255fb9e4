"""Vectorized operations as LLVM text.

``#`` stands for the number of elements per vector.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Dtype = np.dtype[Any]
Parts = tuple[str, ...]
Emit = Callable[[str], str]

# How NumPy's types are called that have registers.
_NAMES: dict[Dtype, str] = {np.dtype(name): llvm for name, llvm in {
    "bool": "i1", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "i8",
    "uint16": "i16", "uint32": "i32", "uint64": "i64", "float32": "float", "float64": "double",
}.items()}  # fmt: skip
_PARTS: dict[Dtype, Dtype] = {np.dtype("c8"): np.dtype("f4"), np.dtype("c16"): np.dtype("f8")}

# Instructions that give NumPy's bits, of two arguments or of one twice, by the kinds of dtypes.
_OPERATIONS = {
    "add": {"iu": "add", "fc": "fadd"},
    "subtract": {"iu": "sub", "fc": "fsub"},
    "multiply": {"iu": "mul", "f": "fmul"},
    "square": {"iu": "mul", "f": "fmul"},
    "divide": {"f": "fdiv"},
    "bitwise_and": {"biu": "and"},
    "bitwise_or": {"biu": "or"},
    "bitwise_xor": {"biu": "xor"},
    "less": {"bu": "icmp ult", "i": "icmp slt", "f": "fcmp olt"},
    "less_equal": {"bu": "icmp ule", "i": "icmp sle", "f": "fcmp ole"},
    "greater": {"bu": "icmp ugt", "i": "icmp sgt", "f": "fcmp ogt"},
    "greater_equal": {"bu": "icmp uge", "i": "icmp sge", "f": "fcmp oge"},
    "equal": {"biu": "icmp eq", "f": "fcmp oeq"},
    "not_equal": {"biu": "icmp ne", "f": "fcmp une"},
    "isnan": {"f": "fcmp uno"},
}
_INTRINSICS = {
    "absolute": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
    "rint": "rint",
}  # fmt: skip


def is_known(dtype: Dtype) -> bool:
    """Return whether LLVM has a type for a dtype."""
    return dtype in _NAMES or dtype in _PARTS


def part_of(dtype: Dtype) -> Dtype:
    """Return the type of the real and the imaginary part, or else the type itself."""
    return _PARTS.get(dtype, dtype)


def vector(dtype: Dtype) -> str:
    """Return the type of the registers that hold elements, or parts of them."""
    return f"<# x {_NAMES[part_of(dtype)]}>"


def load(emit: Emit, dtype: Dtype, address: str) -> Parts:
    """Load elements that lie side by side."""
    align = part_of(dtype).itemsize
    if dtype in _PARTS:
        double = f"<#2 x {_NAMES[_PARTS[dtype]]}>"
        both = emit(f"load {double}, ptr {address}, align {align}")
        return tuple(
            emit(f"shufflevector {double} {both}, {double} poison, <# x i32> {mask}")
            for mask in ("#even", "#odd")
        )
    if dtype.kind == "b":
        byte = emit(f"load <# x i8>, ptr {address}, align 1")
        return (emit(f"icmp ne <# x i8> {byte}, zeroinitializer"),)
    return (emit(f"load {vector(dtype)}, ptr {address}, align {align}"),)


def store(emit: Emit, dtype: Dtype, parts: Parts, address: str) -> str:
    """Return what stores elements side by side, but for their alignment."""
    kind = vector(dtype)
    if dtype in _PARTS:
        double = f"<#2 x {_NAMES[_PARTS[dtype]]}>"
        both = emit(f"shufflevector {kind} {parts[0]}, {kind} {parts[1]}, <#2 x i32> #zip")
        return f"store {double} {both}, ptr {address}"
    if dtype.kind == "b":
        return f"store <# x i8> {emit(f'zext {kind} {parts[0]} to <# x i8>')}, ptr {address}"
    return f"store {kind} {parts[0]}, ptr {address}"


def convert(emit: Emit, old: Dtype, new: Dtype, arguments: Sequence[Parts]) -> Parts | None:
    """Return elements as those of another type; None for what would lose digits."""
    (parts,) = arguments
    if old == new:
        return parts
    if new.kind == "c":
        steps = [convert(emit, part_of(old), _PARTS[new], [(part,)]) for part in parts]
        return (*(part for step in steps for part in step or ()), "zeroinitializer")[:2]
    source, target = vector(old), vector(new)
    if new.kind == "b":
        compare = "fcmp une" if old.kind in "fc" else "icmp ne"
        flags = [emit(f"{compare} {source} {part}, zeroinitializer") for part in parts]
        return (flags[0] if len(flags) == 1 else emit(f"or {target} {flags[0]}, {flags[1]}"),)
    if old.kind == "c" or (old.kind == "f" and new.kind != "f"):
        return None
    if new.kind == "f":
        step = {"f": "fpext" if new.itemsize > old.itemsize else "fptrunc", "i": "sitofp"}
        how = step.get(old.kind, "uitofp")
    elif old.kind != "b" and new.itemsize == old.itemsize:
        return parts
    elif old.kind != "b" and new.itemsize < old.itemsize:
        how = "trunc"
    else:
        how = "sext" if old.kind == "i" else "zext"
    return (emit(f"{how} {source} {parts[0]} to {target}"),)


def operate(emit: Emit, function: str, dtype: Dtype, arguments: Sequence[Parts]) -> Parts | None:
    """Apply a ufunc to arguments of one type; None for what is better left to NumPy."""
    kind, form = dtype.kind, vector(dtype)
    for kinds, operation in _OPERATIONS.get(function, {}).items():
        if kind in kinds:
            pairs = zip(arguments[0], arguments[-1], strict=True)
            return tuple(emit(f"{operation} {form} {left}, {right}") for left, right in pairs)
    (first, *_), *_ = arguments
    if function in _INTRINSICS and kind == "f":
        bits = 8 * dtype.itemsize
        return (emit(f"call {form} @llvm.{_INTRINSICS[function]}.v#f{bits}({form} {first})"),)
    if function == "negative" and kind == "f":
        return (emit(f"fneg {form} {first}"),)
    if function == "negative" and kind == "i":
        return (emit(f"sub {form} zeroinitializer, {first}"),)
    if function == "invert" and kind == "b":
        return (emit(f"icmp eq {form} {first}, zeroinitializer"),)
    return None


def choose(emit: Emit, dtype: Dtype, arguments: Sequence[Parts]) -> Parts:
    """Choose elements of the second argument where the first holds, and of the third elsewhere."""
    ((condition,), x, y), form = arguments, vector(dtype)
    pairs = zip(x, y, strict=True)
    return tuple(
        emit(f"select <# x i1> {condition}, {form} {one}, {form} {other}") for one, other in pairs
    )


def take_part(_: Emit, function: str, arguments: Sequence[Parts]) -> Parts:
    """Return the real or the imaginary part of elements."""
    real, imaginary = (*arguments[0], "zeroinitializer")[:2]
    return (real if function == "real" else imaginary,)


def at_width(text: str, width: int) -> str:
    """Return a text with `width` in place of its placeholders."""
    masks = {
        "#even": range(0, 2 * width, 2),
        "#odd": range(1, 2 * width, 2),
        "#zip": [place for at in range(width) for place in (at, at + width)],
    }
    for name, places in masks.items():
        text = text.replace(name, f"<{', '.join(f'i32 {place}' for place in places)}>")
    return text.replace("#2", str(2 * width)).replace("#", str(width))


def declared(text: str) -> str:
    """Return a text with declarations of the functions of LLVM that it calls."""
    used = set(re.findall(r"call (<\d+ x \w+>) (@llvm[.\w]+)\(", text))
    lines = [f"declare {form} {name}({form})" for form, name in sorted(used)]
    return "\n".join([*lines, text])
