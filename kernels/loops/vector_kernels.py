"""Vectors in kernels of numba: walks through rows, and arrays whose elements are vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.vectors import VECTOR, Step, Vector
from sharedmem.kernels.loops.walks import GROUP


def walker(step: Step, n_parts: int) -> Callable[..., int]:
    """Make the part that adds rows to states, and returns how many columns are in whole vectors."""
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
    """An array whose elements are loaded and stored as vectors."""

    def __init__(
        self, context: Any, builder: Any, kind: Any, array: Any, width: int = VECTOR
    ) -> None:
        self._builder = builder
        self._array = context.make_array(kind)(context, builder, array)
        self._vector = ir.VectorType(context.get_data_type(kind.dtype), width).as_pointer()
        self._is_signed = getattr(kind.dtype, "signed", True)
        self._align = kind.dtype.bitwidth // 8

    def row_length(self) -> Any:
        """Return the length of a row of a two-dimensional array."""
        return cgutils.unpack_tuple(self._builder, self._array.shape)[1]

    def load(self, place: Any) -> Vector:
        """Return the elements from a place."""
        value = self._builder.load(self._pointer(place), align=self._align)
        return Vector(self._builder, value, self._is_signed)

    def store(self, value: Any, place: Any) -> None:
        """Replace the elements from a place, rounded to their type."""
        kind = self._vector.pointee
        if value.type != kind:
            value = self._builder.fptrunc(value, kind)
        self._builder.store(value, self._pointer(place), align=self._align)

    def _pointer(self, place: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(self._array.data, [place]), self._vector)


def _walk(step: Step, n_parts: int, n_rows: int) -> Any:
    """Make the intrinsic that adds groups of `n_rows` rows, `distance` apart, to states."""

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
            # The compiler keeps these in registers.
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
