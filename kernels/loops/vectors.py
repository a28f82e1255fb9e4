"""Formulas on vectors: numbers side by side in the registers of a processor.

The compiler makes vectors of loops over lanes, but keeps the lanes in memory from one row to the
next, which takes half of the time of a sum. So formulas are called with vectors instead, each of
whose operations gives an instruction.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.lines import LineKernel, line_kernel

Array = NDArray[Any]

# Lanes of a vector: four registers of AVX2 if these are float64, so that a sum and what it lost
# leave room for as many elements again.
VECTOR = 16
# Rows that a formula gets at once. They are as far apart as they can be: the processor then follows
# so many streams of memory. Two cores sum 256 MiB at 33 GB/s this way, and at 23 row after row.
GROUP = 8
# More rows than there are, for families that go through all of them at once.
ALL = 1 << 62
# So many columns are reduced side by side, as their states fit into the caches.
WIDTH = 2048


class Vector:
    """Numbers side by side, or what comes of comparing them.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where instructions go.
    value : llvmlite.ir.Value
        A vector of LLVM.
    is_signed : bool
        Whether integers are.
    """

    def __init__(self, builder: Any, value: Any, is_signed: bool = True) -> None:
        self.builder, self.value, self.is_signed = builder, value, is_signed

    @property
    def is_float(self) -> bool:
        """Whether these are floating-point numbers."""
        return not isinstance(self.value.type.element, ir.IntType)

    def full(self, number: float) -> Vector:
        """Return a vector of the same type, with one number in all lanes."""
        kind = self.value.type
        return self.like(ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count))

    def __add__(self, other: Vector) -> Vector:
        return self._calculate("add", other)

    def __sub__(self, other: Vector) -> Vector:
        return self._calculate("sub", other)

    def __mul__(self, other: Vector) -> Vector:
        return self._calculate("mul", other)

    def fma(self, factor: Vector, summand: Vector) -> Vector:
        """Return the product with a factor, plus a summand, rounded once."""
        return self._call("fma", factor, summand)

    def bits(self) -> Vector:
        """Return the bits of float64 as integers."""
        kind = ir.VectorType(ir.IntType(64), self.value.type.count)
        return Vector(self.builder, self.builder.bitcast(self.value, kind), is_signed=False)

    def floats(self) -> Vector:
        """Return the float64 that integers are the bits of."""
        kind = ir.VectorType(ir.DoubleType(), self.value.type.count)
        return self.like(self.builder.bitcast(self.value, kind))

    def __and__(self, mask: int) -> Vector:
        return self.like(self.builder.and_(self.value, self.full(mask % 2**64).value))

    def __or__(self, mask: int | Vector) -> Vector:
        other = mask if isinstance(mask, Vector) else self.full(mask)
        return self.like(self.builder.or_(self.value, other.value))

    def __rshift__(self, count: int) -> Vector:
        return self.like(self.builder.lshr(self.value, self.full(count).value))

    def __lshift__(self, count: int) -> Vector:
        return self.like(self.builder.shl(self.value, self.full(count).value))

    def __abs__(self) -> Vector:
        return self._call("fabs")

    def __lt__(self, other: Vector) -> Vector:
        return self._compare("<", other)

    def __gt__(self, other: Vector) -> Vector:
        return self._compare(">", other)

    def differs(self, other: Vector) -> Vector:
        """Say where numbers are not equal; NaN is not equal to itself."""
        if self.is_float:
            return self.like(self.builder.fcmp_unordered("!=", self.value, other.value))
        return self._compare("!=", other)

    def is_nan(self, other: Vector) -> Vector:
        """Say where this number or the other one is NaN."""
        return self.like(self.builder.fcmp_unordered("uno", self.value, other.value))

    def choose(self, a: Vector, b: Vector) -> Vector:
        """Return `a` where a comparison holds, and `b` elsewhere."""
        return a.like(self.builder.select(self.value, a.value, b.value))

    def ones(self, sized_like: Vector) -> Vector:
        """Return integers of the size of other numbers: 1 where a comparison holds, and else 0."""
        element = sized_like.value.type.element
        size = {ir.DoubleType: 64, ir.FloatType: 32}.get(type(element)) or element.width
        kind = ir.VectorType(ir.IntType(size), VECTOR)
        return Vector(self.builder, self.builder.zext(self.value, kind), is_signed=False)

    def widen(self, like: Vector) -> Vector:
        """Return the numbers in the type of another vector, which holds them all."""
        kind = like.value.type
        if self.value.type == kind:
            return like.like(self.value)
        if self.is_float:
            convert = self.builder.fpext
        elif like.is_float:
            convert = self.builder.sitofp if self.is_signed else self.builder.uitofp
        else:
            convert = self.builder.sext if self.is_signed else self.builder.zext
        return like.like(convert(self.value, kind))

    def like(self, value: Any) -> Vector:
        """Return a value of LLVM as a vector of the same kind."""
        return Vector(self.builder, value, self.is_signed)

    def _calculate(self, name: str, other: Vector) -> Vector:
        instruction = getattr(self.builder, "f" + name if self.is_float else name)
        return self.like(instruction(self.value, other.value))

    def _call(self, name: str, *others: Vector) -> Vector:
        kind = self.value.type
        values = [self.value, *(other.value for other in others)]
        signature = ir.FunctionType(kind, [kind] * len(values))
        name = f"llvm.{name}.v{kind.count}{kind.element.intrinsic_name}"
        function = cgutils.get_or_insert_function(self.builder.module, signature, name)
        return self.like(self.builder.call(function, values))

    def _compare(self, sign: str, other: Vector) -> Vector:
        if self.is_float:
            compare = self.builder.fcmp_ordered
        else:
            compare = self.builder.icmp_signed if self.is_signed else self.builder.icmp_unsigned
        return self.like(compare(sign, self.value, other.value))


# Takes the state of a lane, and an element of each of a few rows; returns the new state.
Step = Callable[[Sequence[Vector], Sequence[Vector]], Sequence[Vector]]


def tree_sum(vectors: Sequence[Vector]) -> Vector:
    """Add vectors, neighbours first."""
    while len(vectors) > 1:
        vectors = [
            functools.reduce(operator.add, vectors[at : at + 2]) for at in range(0, len(vectors), 2)
        ]
    return vectors[0]


def vector_kernel(
    step: Step,
    n_parts: int,
    add_few: Callable[..., None],
    fold: Callable[..., None],
    finish: Callable[..., None] | None = None,
) -> LineKernel:
    """Make the kernels of a family from a formula of vectors.

    Parameters
    ----------
    step : callable
        Takes the vectors of a state, and those of one row or of GROUP rows.
    n_parts : int
        How many vectors a state has.
    add_few : kernel
        Adds rows to what is left of lanes by whole vectors: see `adder` of :func:`line_kernel`.
    fold, finish
        See :func:`line_kernel`.
    """
    walk = walker(step, n_parts)

    @part
    def add_rows(
        x: Array, p: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
    ) -> None:
        in_vectors = walk(x, p, n, stride, state, at, width)
        if in_vectors < width:
            p, at, width = p + in_vectors, at + in_vectors, width - in_vectors
            add_few(x, p, n, stride, state, at, width, scratch)

    return line_kernel(lambda _: add_rows, fold, finish, n_rows=ALL, n_lanes=VECTOR, width=WIDTH)


def walker(step: Step, n_parts: int) -> Callable[..., int]:
    """Make what changes states by rows, and says how many columns are in whole vectors."""
    walk_groups, walk_rows = _walk(step, n_parts, GROUP), _walk(step, n_parts, 1)

    @part
    def walk(x: Array, p: int, n: int, stride: int, state: Array, at: int, width: int) -> int:
        in_vectors, n_groups = width // VECTOR * VECTOR, n // GROUP
        distance = n_groups * stride
        # A single vector stays in registers from group to group.
        together = n_groups if width == VECTOR else 1
        for group in range(0, n_groups, max(1, together)):
            q = p + group * stride
            for j in range(0, in_vectors, VECTOR):
                walk_groups(x, q + j, together, stride, distance, state, at + j)
        rest = p + GROUP * distance
        for j in range(0, in_vectors, VECTOR):
            walk_rows(x, rest + j, n % GROUP, stride, stride, state, at + j)
        return in_vectors

    return walk


class Elements:
    """An array, whose elements are loaded and stored as vectors."""

    def __init__(
        self, context: Any, builder: Any, kind: Any, array: Any, width: int = VECTOR
    ) -> None:
        self._builder = builder
        self._array = context.make_array(kind)(context, builder, array)
        self._vector = ir.VectorType(context.get_data_type(kind.dtype), width).as_pointer()
        self._is_signed = getattr(kind.dtype, "signed", True)
        self._align = kind.dtype.bitwidth // 8

    def row_length(self) -> Any:
        """Return how many elements of a two-dimensional array lie between its rows."""
        return cgutils.unpack_tuple(self._builder, self._array.shape)[1]

    def load(self, place: Any) -> Vector:
        """Return the elements from a place on."""
        value = self._builder.load(self._pointer(place), align=self._align)
        return Vector(self._builder, value, self._is_signed)

    def store(self, value: Any, place: Any) -> None:
        """Replace the elements from a place on, rounded to their type."""
        kind = self._vector.pointee
        if value.type != kind:
            value = self._builder.fptrunc(value, kind)
        self._builder.store(value, self._pointer(place), align=self._align)

    def _pointer(self, place: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(self._array.data, [place]), self._vector)


def _walk(step: Step, n_parts: int, n_rows: int) -> Any:
    """Make what changes states by groups of so many rows, which are `distance` apart."""

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def walk(
        typing: Any, x: Any, p: Any, n: Any, advance: Any, distance: Any, state: Any, at: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array, p, n, advance, distance, lanes, at = arguments
            elements = Elements(context, builder, signature.args[0], array)
            states = Elements(context, builder, signature.args[5], lanes)
            length = states.row_length()
            places = [builder.add(at, builder.mul(length, at.type(row))) for row in range(n_parts)]
            parts = [states.load(place) for place in places]
            # Which the compiler puts into registers.
            variables = [cgutils.alloca_once_value(builder, part.value) for part in parts]
            with cgutils.for_range(builder, n) as loop:
                first = builder.add(p, builder.mul(loop.index, advance))
                apart = [builder.mul(distance, n.type(row)) for row in range(n_rows)]
                starts = [builder.add(first, offset) for offset in apart]
                rows = [elements.load(start) for start in starts]
                before = [
                    part.like(builder.load(variable))
                    for part, variable in zip(parts, variables, strict=True)
                ]
                for variable, part in zip(variables, step(before, rows), strict=True):
                    builder.store(part.value, variable)
            for variable, place in zip(variables, places, strict=True):
                states.store(builder.load(variable), place)
            return context.get_dummy_value()

        number = types.int64
        return types.void(x, number, number, number, number, state, number), generate

    return walk
