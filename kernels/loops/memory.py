"""Numbers in memory, and tables of them, which kernels load and store as vectors."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.vectors import Splat, Vector

_INT = ir.IntType(64)


class Kind(NamedTuple):
    """The type of numbers in memory."""

    type: Any
    is_signed: bool
    size: int


BYTE, WORD = Kind(ir.IntType(8), False, 1), Kind(_INT, True, 8)
DOUBLE = Kind(ir.DoubleType(), True, 8)


def kind_of(dtype: np.dtype[Any]) -> Kind:
    """Return the type of numbers of a dtype."""
    floats = {4: ir.FloatType(), 8: ir.DoubleType()}
    element = floats[dtype.itemsize] if dtype.kind == "f" else ir.IntType(8 * dtype.itemsize)
    return Kind(element, dtype.kind in "if", dtype.itemsize)


class Numbers:
    """Numbers in memory.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    pointer : llvmlite.ir.Value
        Of the first number.
    kind : Kind
    """

    def __init__(self, builder: Any, pointer: Any, kind: Kind) -> None:
        self.builder, self.pointer, self.kind = builder, pointer, kind
        # What the code that reads the numbers depends on.
        self.form: Any = kind

    def load(self, place: Int, width: int) -> Vector:
        """Return `width` numbers from a place."""
        pointer, form = self._at(place), ir.VectorType(self.kind.type, width)
        value = self.builder.load(pointer, align=self.kind.size, typ=form)
        return Vector(self.builder, value, self.kind.is_signed)

    def gather(self, places: Sequence[Int]) -> Vector:
        """Return the numbers at some places, whose number is a power of two."""
        found = [self.load(place, 1) for place in places]
        while len(found) > 1:
            pairs = zip(found[::2], found[1::2], strict=True)
            found = [a.pick(b, range(2 * a.width)) for a, b in pairs]
        return found[0]

    def store(self, numbers: Vector, place: Int) -> None:
        """Replace numbers from a place."""
        value = numbers.convert(self.kind.type).value
        self.builder.store(value, self._at(place), align=self.kind.size)

    def start(self, place: Int) -> Numbers:
        """Return the numbers from a place."""
        return Numbers(self.builder, self._at(place), self.kind)

    def full(self, number: float, width: int) -> Vector:
        """Return a vector of this type, with one number in all lanes."""
        form = ir.VectorType(self.kind.type, width)
        return Vector(self.builder, Splat(form, number), self.kind.is_signed)

    def full_float(self, number: float, width: int) -> Vector:
        """Return a vector of float64, with one number in all lanes."""
        return Numbers(self.builder, self.pointer, DOUBLE).full(number, width)

    def exist(self) -> Flag:
        """Return whether the pointer is not null."""
        value = self.builder.ptrtoint(self.pointer, _INT)
        return Flag(self.builder, self.builder.icmp_unsigned("!=", value, _INT(0)))

    def values(self) -> list[Any]:
        """Return what a function gets for these numbers."""
        return [self.pointer]

    def received(self, builder: Any, values: Iterator[Any]) -> Numbers:
        """Return these numbers as the function that gets them sees them."""
        return Numbers(builder, next(values), self.kind)

    def _at(self, place: Int) -> Any:
        return self.builder.gep(self.pointer, [place.value], source_etype=self.kind.type)


class Table:
    """Rows of numbers in memory.

    Parameters
    ----------
    numbers : Numbers
    length : Int
        The length of a row.
    n_rows : int
    """

    def __init__(self, numbers: Numbers, length: Int, n_rows: int) -> None:
        self.numbers, self.length, self.n_rows = numbers, length, n_rows

    def row(self, row: int) -> Numbers:
        """Return the numbers of a row."""
        return self.numbers.start(self.length * row)

    def rows(self) -> list[Numbers]:
        """Return the numbers of each row."""
        return [self.row(row) for row in range(self.n_rows)]

    def load(self, at: Int, width: int) -> list[Vector]:
        """Return `width` numbers of each row."""
        return [row.load(at, width) for row in self.rows()]

    def store(self, vectors: Sequence[Vector], at: Int) -> None:
        """Replace numbers of the first rows."""
        for row, vector in enumerate(vectors):
            self.row(row).store(vector, at)

    def where(self, flag: Flag, other: Table) -> Table:
        """Return this table if `flag` holds, and else another one."""
        builder, numbers = self.numbers.builder, self.numbers
        pointer = builder.select(flag.value, numbers.pointer, other.numbers.pointer)
        length = flag.choose(self.length, other.length)
        return Table(Numbers(builder, pointer, numbers.kind), length, self.n_rows)

    def first(self, n_rows: int) -> Table:
        """Return the first rows."""
        return Table(self.numbers, self.length, n_rows)

    def start(self, place: Int) -> Table:
        """Return the rows from a place in each."""
        return Table(self.numbers.start(place), self.length, self.n_rows)
