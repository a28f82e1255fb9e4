"""Expressions for operands of certain types, which can be called like ufuncs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import chunks
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import common_shape, is_store
from sharedmem.expressions.binding import Computation, bind
from sharedmem.expressions.fusion import fuse, fuse_values
from sharedmem.expressions.kernel import Kernel
from sharedmem.expressions.language import Operand, Steps, Written, names_in
from sharedmem.kernels.loops.formulas import Elements
from sharedmem.kernels.machine_code import Share
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]

_UNKNOWN = object()


def bound(text: str, steps: Sequence[Written], values: Mapping[str, Any]) -> Bound:
    """Return an expression for the types of values by name, and the names of its operands.

    Parameters
    ----------
    text : str
        The expression, for errors.
    steps : sequence of Written
        Its steps, none of which is a reduction.
    values : mapping
        Arrays, and numbers of Python or NumPy.
    """
    used = {name: values[name] for name in names_in(steps) if name in values}
    # The chunks of an array that is computed are those of its first operand.
    used = dict(sorted(used.items(), key=lambda item: not is_store(item[1])))
    compiled, names, scalars = bind(steps, used)
    operands = [used[name] for name in names]
    size = math.prod(common_shape([x.shape for x in operands]))
    dtypes = tuple(np.dtype(x.dtype) for x in operands)
    return Expression(text, compiled, dtypes, tuple(scalars), size), names


@dataclass(eq=False)
class Expression:
    """An expression that can be called like a ufunc, on a chunk of each operand.

    Parameters
    ----------
    text : str
        The expression, for errors.
    steps : tuple of Step
    dtypes : tuple of dtype
        Of the operands.
    scalars : tuple
        The numbers.
    size : int
        Number of elements of the result.
    """

    text: str
    steps: Steps
    dtypes: tuple[np.dtype[Any], ...]
    scalars: tuple[Any, ...]
    size: int
    nout = 1

    def __post_init__(self) -> None:
        """Compile nothing before it is known that it is needed."""
        self.__name__, self.nin = self.text, len(self.dtypes)
        self.compute = Computation(self.steps)
        self._kernel: Any = _UNKNOWN
        self._formula: Any = _UNKNOWN
        self._dtype: Any = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of results."""
        if self._dtype is None:
            nothing = [np.empty(0, dtype) for dtype in self.dtypes]
            self._dtype = np.asarray(self.compute(nothing, self.scalars)).dtype
        return self._dtype  # type: ignore[no-any-return]

    @property
    def kernel(self) -> Kernel | None:
        """The machine code; None of small arrays, and if NumPy has to compute."""
        if self.is_small():
            return None
        if self._kernel is _UNKNOWN:
            self._kernel = fuse(self.steps, self.dtypes, self.scalars, is_exact=False)
        return self._kernel  # type: ignore[no-any-return]

    def is_small(self, _: Any = None) -> bool:
        """Return whether NumPy computes all in less time than threads."""
        return self.size <= tuning.expression_piece_length

    def by_numpy(self, operands: Sequence[Any], out: Array) -> None:
        """Compute all of `out`, which may be an operand."""
        out[...] = self.compute(operands, self.scalars)

    def __reduce__(self) -> Any:
        """Pickle without the machine code: another process compiles its own."""
        return Expression, (self.text, self.steps, self.dtypes, self.scalars, self.size)

    def __call__(self, *operands: Array, out: tuple[Array, ...] = ()) -> Any:
        """Compute a chunk; for a chunk without elements, return the dtype of results."""
        if not out or not out[0].size:
            return self._empty_result(operands, out)
        operands = tuple(np.broadcast_to(x, out[0].shape) for x in operands)
        if not self.together(None, operands, out[0]):
            self._compute_pieces(operands, out[0])
        return out[0]

    def fill(self, operands: Sequence[Array], out: Array) -> None:
        """Compute all of `out`, a small part of the result, which stays in the caches."""
        kernel = self.kernel
        if kernel is None or kernel.compute_whole(operands, out, out.size) is None:
            self._compute_pieces(operands, out)

    def in_registers(self, operands: Sequence[Array]) -> Elements | None:
        """Return what kernels compute of contiguous operands of one shape, if they can."""
        if self._formula is _UNKNOWN:
            self._formula = fuse_values(self.steps, self.dtypes, self.scalars)
        return None if self._formula is None else self._formula.of(operands)

    def _compute_pieces(self, operands: Sequence[Array], out: Array) -> None:
        axes = memory_order(out.strides)
        parts = [x.transpose(axes) for x in (*operands, out)]
        size = tuning.expression_piece_length * out.itemsize
        for piece in chunks(parts[-1], range(len(axes)), nbytes=size):
            self._compute([part[(*piece, ...)] for part in parts])

    def is_name(self) -> bool:
        """Return whether the result is the only operand."""
        return len(self.steps) == 1 and isinstance(self.steps[0], Operand)

    def number(self) -> Any:
        """Return the result of an expression of numbers alone."""
        return np.asarray(self.compute((), self.scalars))[()]

    def together(self, share: Share | None, operands: Sequence[Array], out: Array) -> bool:
        """Compute all of `out`, in threads if they share the work; return whether it was possible.

        If not, the arrays have to be cut into pieces first.
        """
        kernel = self.kernel
        return kernel is not None and (
            kernel.compute_whole(operands, out, self.size, share) is not None
        )

    def _empty_result(self, operands: tuple[Array, ...], out: tuple[Array, ...]) -> Any:
        if self.kernel is None:
            result = np.asarray(self.compute(operands, self.scalars))
        else:
            result = np.empty(operands[0].shape, self.kernel.dtype)
        for target in out:
            if not np.can_cast(result.dtype, target.dtype, "same_kind"):
                raise TypeError(
                    f"{self.__name__!r} is of dtype {result.dtype}, which cannot be cast to the "
                    f"dtype of out, {target.dtype}, by the rule 'same_kind'"
                )
        return result[()]

    def _compute(self, parts: list[Array]) -> None:
        *operands, out = parts
        if self.kernel is None:
            result = self.compute(operands, self.scalars)
        else:
            result = np.empty(out.shape, self.kernel.dtype)
            plain = [np.require(x, x.dtype.newbyteorder("="), ["C", "A"]) for x in operands]
            self.kernel(plain, result, streams=False)
        np.copyto(out, result, casting="unsafe")


# An expression, and the names of its operands.
Bound = tuple[Expression, list[str]]
