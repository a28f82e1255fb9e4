"""Integers and conditions that are known when a kernel runs: operators emit instructions."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from sharedmem.kernels.loops.vectors import Vector

_INT = ir.IntType(64)


class Flag:
    """Whether something holds, known when the kernel runs."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __or__(self, other: Flag) -> Flag:
        return Flag(self.builder, self.builder.or_(self.value, other.value))

    def __and__(self, other: Flag) -> Flag:
        return Flag(self.builder, self.builder.and_(self.value, other.value))

    def __invert__(self) -> Flag:
        return Flag(self.builder, self.builder.not_(self.value))

    def choose(self, a: Int | int, b: Int | int) -> Int:
        """Return `a` if this holds, and else `b`."""
        values = [one.value if isinstance(one, Int) else _INT(one) for one in (a, b)]
        return Int(self.builder, self.builder.select(self.value, *values))


class Int:
    """An integer of 64 bits, known when the kernel runs. Those that are divided are not negative.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Emits the instructions.
    value : llvmlite.ir.Value
    """

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Int | int) -> Int:
        return self._calculate(self.builder.add, other)

    def __sub__(self, other: Int | int) -> Int:
        return self._calculate(self.builder.sub, other)

    def __mul__(self, other: Int | int) -> Int:
        return self._calculate(self.builder.mul, other)

    def __floordiv__(self, other: Int | int) -> Int:
        return self._calculate(self.builder.udiv, other)

    def __mod__(self, other: Int | int) -> Int:
        return self._calculate(self.builder.urem, other)

    def __rshift__(self, other: Int | int) -> Int:
        return self._calculate(self.builder.lshr, other)

    def __and__(self, other: Int | int) -> Int:
        return self._calculate(self.builder.and_, other)

    def __xor__(self, other: Int | int) -> Int:
        return self._calculate(self.builder.xor, other)

    def __lt__(self, other: Int | int) -> Flag:
        return self._compare("<", other)

    def __ge__(self, other: Int | int) -> Flag:
        return self._compare(">=", other)

    def __gt__(self, other: Int | int) -> Flag:
        return self._compare(">", other)

    def equals(self, other: Int | int) -> Flag:
        """Return whether two numbers are equal."""
        return self._compare("==", other)

    def least(self, other: Int | int) -> Int:
        """Return the smaller of two numbers."""
        return (self < other).choose(self, other)

    def greatest(self, other: Int | int) -> Int:
        """Return the larger of two numbers."""
        return (self > other).choose(self, other)

    def up_to(self, unit: int) -> Int:
        """Return the next multiple of a number."""
        return (self + (unit - 1)) // unit * unit

    def count_bits(self) -> Int:
        """Return how many bits are set."""
        return Int(self.builder, self.builder.ctpop(self.value))

    def count_ones(self) -> Int:
        """Return how many of the lowest bits are set, up to the first one that is not."""
        inverse = self.builder.not_(self.value)
        return Int(self.builder, self.builder.cttz(inverse, ir.IntType(1)(0)))

    def as_vector(self) -> Vector:
        """Return this as a vector of one integer."""
        return Vector(self.builder, self.builder.bitcast(self.value, ir.VectorType(_INT, 1)))

    def as_float(self) -> Vector:
        """Return this as a vector of one float64."""
        kind = ir.VectorType(ir.DoubleType(), 1)
        number = self.builder.sitofp(self.value, ir.DoubleType())
        return Vector(self.builder, self.builder.bitcast(number, kind))

    def _calculate(self, instruction: Callable[..., Any], other: Int | int) -> Int:
        return Int(self.builder, instruction(self.value, self._value(other)))

    def _compare(self, sign: str, other: Int | int) -> Flag:
        return Flag(self.builder, self.builder.icmp_signed(sign, self.value, self._value(other)))

    def _value(self, number: Int | int) -> Any:
        return number.value if isinstance(number, Int) else _INT(number)
