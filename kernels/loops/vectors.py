"""Vectors: numbers side by side in the registers of a processor.

The compiler vectorizes loops over lanes, but keeps the lanes in memory from one row to the next. So
formulas are called with vectors, each of whose operations emits an instruction.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

# Lanes of a vector: four registers of AVX2 for float64, so that a sum and its rounding error leave
# room for as many elements again.
VECTOR = 16


class Splat(ir.Constant):  # type: ignore[misc, unused-ignore]
    """A constant vector of LLVM, with one number in all lanes, in the short form."""

    def __init__(self, kind: Any, number: float) -> None:
        super().__init__(kind, [kind.element(number)] * kind.count)

    def get_reference(self) -> str:
        """Return how instructions name the constant."""
        return f"splat ({self.constant[0]})"


class Vector:
    """Numbers side by side, or the results of comparing them.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Emits the instructions.
    value : llvmlite.ir.Value
        A vector of LLVM.
    is_signed : bool
        Whether integers are signed.
    """

    def __init__(self, builder: Any, value: Any, is_signed: bool = True) -> None:
        self.builder, self.value, self.is_signed = builder, value, is_signed

    @property
    def is_float(self) -> bool:
        """Return whether these are floating-point numbers."""
        return not isinstance(self.value.type.element, ir.IntType)

    @property
    def width(self) -> int:
        """Return how many numbers these are."""
        return int(self.value.type.count)

    def full(self, number: float) -> Vector:
        """Return a vector of the same type, with one number in all lanes."""
        return self.like(Splat(self.value.type, number))

    def places(self) -> Vector:
        """Return the number of each lane, of the same type."""
        return self.like(ir.Constant(self.value.type, list(range(self.width))))

    def __add__(self, other: Vector) -> Vector:
        return self._calculate("add", other)

    def __sub__(self, other: Vector) -> Vector:
        return self._calculate("sub", other)

    def __mul__(self, other: Vector) -> Vector:
        return self._calculate("mul", other)

    def __truediv__(self, other: Vector) -> Vector:
        return self.like(self.builder.fdiv(self.value, other.value))

    def __neg__(self) -> Vector:
        return self.like(self.builder.fneg(self.value))

    def fma(self, factor: Vector, summand: Vector) -> Vector:
        """Return ``self * factor + summand``, rounded once."""
        return self.apply("fma", factor, summand)

    def bits(self) -> Vector:
        """Return the bits of float64 as integers."""
        kind = ir.VectorType(ir.IntType(64), self.value.type.count)
        return Vector(self.builder, self.builder.bitcast(self.value, kind), is_signed=False)

    def floats(self) -> Vector:
        """Return the float64 whose bits these integers are."""
        kind = ir.VectorType(ir.DoubleType(), self.value.type.count)
        return self.like(self.builder.bitcast(self.value, kind))

    def __and__(self, mask: int | Vector) -> Vector:
        other = mask if isinstance(mask, Vector) else self.full(mask % 2**64)
        return self.like(self.builder.and_(self.value, other.value))

    def __or__(self, mask: int | Vector) -> Vector:
        other = mask if isinstance(mask, Vector) else self.full(mask)
        return self.like(self.builder.or_(self.value, other.value))

    def __xor__(self, other: Vector) -> Vector:
        return self.like(self.builder.xor(self.value, other.value))

    def __rshift__(self, count: int | Vector) -> Vector:
        other = count if isinstance(count, Vector) else self.full(count)
        return self.like(self.builder.lshr(self.value, other.value))

    def __lshift__(self, count: int | Vector) -> Vector:
        other = count if isinstance(count, Vector) else self.full(count)
        return self.like(self.builder.shl(self.value, other.value))

    def shift_signed(self, count: int) -> Vector:
        """Return these integers shifted to the right, with copies of the sign from the left."""
        return Vector(self.builder, self.builder.ashr(self.value, self.full(count).value))

    def signed(self) -> Vector:
        """Return these integers as signed ones."""
        return Vector(self.builder, self.value)

    def __abs__(self) -> Vector:
        return self.apply("fabs")

    def __lt__(self, other: Vector) -> Vector:
        return self._compare("<", other)

    def __gt__(self, other: Vector) -> Vector:
        return self._compare(">", other)

    def __le__(self, other: Vector) -> Vector:
        return self._compare("<=", other)

    def __ge__(self, other: Vector) -> Vector:
        return self._compare(">=", other)

    def equals(self, other: Vector) -> Vector:
        """Compare for equality."""
        return self._compare("==", other)

    def differs(self, other: Vector) -> Vector:
        """Compare for inequality; NaN is not equal to itself."""
        if self.is_float:
            return self.like(self.builder.fcmp_unordered("!=", self.value, other.value))
        return self._compare("!=", other)

    def is_nan(self, other: Vector) -> Vector:
        """Return where this number or the other one is NaN."""
        return self.like(self.builder.fcmp_unordered("uno", self.value, other.value))

    def or_infinity(self) -> Vector:
        """Return these numbers, with infinity for NaN."""
        return self.equals(self).choose(self, self.full(math.inf))

    def choose(self, a: Vector, b: Vector) -> Vector:
        """Return `a` where a comparison holds, and `b` elsewhere."""
        return a.like(self.builder.select(self.value, a.value, b.value))

    def ones(self, sized_like: Vector) -> Vector:
        """Return integers of the size of other numbers: 1 where a comparison holds, and else 0."""
        element = sized_like.value.type.element
        size = {ir.DoubleType: 64, ir.FloatType: 32}.get(type(element)) or element.width
        kind = ir.VectorType(ir.IntType(size), self.value.type.count)
        return Vector(self.builder, self.builder.zext(self.value, kind), is_signed=False)

    def widen(self, like: Vector) -> Vector:
        """Convert to the type of another vector, without rounding."""
        return like.like(self.convert(like.value.type.element).value)

    def convert(self, element: Any) -> Vector:
        """Convert to a type of LLVM, rounding floating-point numbers; to integers toward zero."""
        before, kind = self.value.type.element, ir.VectorType(element, self.value.type.count)
        if before == element:
            return self
        if isinstance(element, ir.IntType):
            if self.is_float:
                return Vector(self.builder, self.builder.fptosi(self.value, kind))
            if element.width < before.width:
                instruction = self.builder.trunc
            else:
                instruction = self.builder.sext if self.is_signed else self.builder.zext
        elif not self.is_float:
            instruction = self.builder.sitofp if self.is_signed else self.builder.uitofp
        elif isinstance(element, ir.DoubleType):
            instruction = self.builder.fpext
        else:
            instruction = self.builder.fptrunc
        return self.like(instruction(self.value, kind))

    def repeat(self, width: int) -> Vector:
        """Return a vector with the first of these numbers in all lanes."""
        return self.pick(self, [0] * width)

    def lane(self, place: int) -> Vector:
        """Return one of these numbers, as a vector of one."""
        return self.pick(self, [place])

    def pick(self, other: Vector, places: Sequence[int]) -> Vector:
        """Return numbers of these and of another vector, whose places follow on these."""
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places))
        return self.like(self.builder.shuffle_vector(self.value, other.value, lanes))

    def like(self, value: Any) -> Vector:
        """Return a value of LLVM as a vector of the same kind."""
        return Vector(self.builder, value, self.is_signed)

    def _calculate(self, name: str, other: Vector) -> Vector:
        instruction = getattr(self.builder, "f" + name if self.is_float else name)
        return self.like(instruction(self.value, other.value))

    def apply(self, name: str, *others: Vector) -> Vector:
        """Return a function of these numbers, and of others, that LLVM has by this name."""
        kind = self.value.type
        values = [self.value, *(other.value for other in others)]
        signature = ir.FunctionType(kind, [kind] * len(values))
        name = f"llvm.{name}.v{kind.count}{kind.element.intrinsic_name}"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, signature, name)
        return self.like(self.builder.call(function, values))

    def _compare(self, sign: str, other: Vector) -> Vector:
        if self.is_float:
            compare = self.builder.fcmp_ordered
        else:
            compare = self.builder.icmp_signed if self.is_signed else self.builder.icmp_unsigned
        return self.like(compare(sign, self.value, other.value))


# Takes the state of a lane and an element of each of a few rows; returns the new state.
Step = Callable[[Sequence[Vector], Sequence[Vector]], Sequence[Vector]]


def tree_sum(vectors: Sequence[Vector]) -> Vector:
    """Add vectors in pairs of neighbors."""
    while len(vectors) > 1:
        vectors = [
            functools.reduce(operator.add, vectors[at : at + 2]) for at in range(0, len(vectors), 2)
        ]
    return vectors[0]


def transposed(rows: Sequence[Vector]) -> list[Vector]:
    """Transpose four vectors of four numbers."""
    pairs = rows[:2], rows[2:]
    even = [a.pick(b, [0, 4, 2, 6]) for a, b in pairs]
    odd = [a.pick(b, [1, 5, 3, 7]) for a, b in pairs]
    left = [a.pick(b, [0, 1, 4, 5]) for a, b in (even, odd)]
    return left + [a.pick(b, [2, 3, 6, 7]) for a, b in (even, odd)]
