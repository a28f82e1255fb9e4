"""Formulas: elements that a kernel computes in registers where it would load them."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.memory import Numbers, kind_of
from sharedmem.kernels.loops.vectors import Vector


@dataclass(frozen=True)
class Formula:
    """What computes elements from those of other arrays at the same place.

    Attributes
    ----------
    name : str
        Begins the names of its functions: no other formula has it.
    dtype : dtype
        The type of the elements. Boolean ones are bytes, as in memory.
    write : callable
        ``write(widths)`` returns a module in LLVM's language that defines for each width the
        function ``@name.width(ptr %addresses, i64 %place)``: it returns so many elements.
    is_lasting : bool
        Whether machine code of it may be kept in files, because it holds no addresses.
    """

    name: str
    dtype: np.dtype[Any]
    write: Callable[[Sequence[int]], str] = field(compare=False)
    is_lasting: bool


class Elements(NamedTuple):
    """Elements that a formula computes.

    Attributes
    ----------
    formula : Formula
    arrays : sequence of ndarray
        Their addresses are those that the formula's functions get.
    """

    formula: Formula
    arrays: Sequence[Array]


class ComputedNumbers(Numbers):
    """Numbers that are read like those in memory, but computed by a formula.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    pointer : llvmlite.ir.Value
        Of the addresses that the formula gets.
    formula : Formula
    first : Int
        The place of the first number.
    """

    def __init__(self, builder: Any, pointer: Any, formula: Formula, first: Int) -> None:
        super().__init__(builder, pointer, kind_of(formula.dtype))
        self._formula, self._first = formula, first
        self.form = formula.name

    def load(self, place: Int, width: int) -> Vector:
        """Return `width` numbers from a place."""
        module, name = self.builder.module, f"{self._formula.name}.{width}"
        values, form = self.start(place).values(), ir.VectorType(self.kind.type, width)
        signature = ir.FunctionType(form, [value.type for value in values])
        function = module.globals.get(name) or ir.Function(module, signature, name)
        return Vector(self.builder, self.builder.call(function, values), self.kind.is_signed)

    def start(self, place: Int) -> ComputedNumbers:
        """Return the numbers from a place."""
        return ComputedNumbers(self.builder, self.pointer, self._formula, self._first + place)

    def values(self) -> list[Any]:
        """Return what a function gets for these numbers."""
        return [self.pointer, self._first.value]

    def received(self, builder: Any, values: Iterator[Any]) -> ComputedNumbers:
        """Return these numbers as the function that gets them sees them."""
        pointer, first = next(values), Int(builder, next(values))
        return ComputedNumbers(builder, pointer, self._formula, first)


def modules(module: ir.Module, formulas: Sequence[Formula]) -> list[str]:
    """Return a module as text, and those that define what it calls of formulas."""
    called = [name.rpartition(".") for name in module.globals]
    each = {formula.name: formula for formula in formulas}.values()
    widths = [[int(width) for name, _, width in called if name == one.name] for one in each]
    return [str(module), *(one.write(some) for one, some in zip(each, widths, strict=True))]
