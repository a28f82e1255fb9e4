"""Expressions compiled to one kernel, with NumPy's own loops for what has no other."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sharedmem.expressions import libmvec, lowering
from sharedmem.expressions.binding import bind
from sharedmem.expressions.kernel import Kernel
from sharedmem.expressions.language import UFUNCS, WIDENED, Call, Name, Operand, Scalar, Steps
from sharedmem.expressions.lowering import Dtype, Emit, Parts
from sharedmem.expressions.numpy_loops import NumpyLoop, find_loop
from sharedmem.expressions.strips import (
    FIRST,
    SCRATCH,
    STEP_BYTES,
    STRIP,
    Room,
    Source,
    Stage,
    write_kernel,
)
from sharedmem.kernels.loops.formulas import Elements, Formula
from sharedmem.kernels.machine_code import assemble
from sharedmem.machine.fork_locks import new_lock


class _Unfused(Exception):  # noqa: N818 - no error: NumPy computes it
    """Raised if there is no kernel for an expression of these types."""


NAMES = {ufunc: name for name, ufunc in UFUNCS.items()}

# Otherwise threads that start with the same expression would all compile it.
_compiling = new_lock()


def fuse(
    steps: Steps, operand_dtypes: tuple[Dtype, ...], scalars: Sequence[Any], *, is_exact: bool
) -> Kernel | None:
    """Compile the steps that `binding.bind` gave, for the types in them.

    Parameters
    ----------
    steps : tuple of Step
    operand_dtypes : tuple of dtype
    scalars : sequence
        The numbers.
    is_exact : bool
        Whether results have NumPy's bits; libmvec is not used then.

    Returns
    -------
    Kernel or None
        None where the processor or NumPy's tables lack what that needs, or an integer is compared
        that is beyond the type of the array: then NumPy computes it.
    """
    with _compiling:
        kernel = _fuse(steps, operand_dtypes, is_exact)
    numbers = None if kernel is None else _repeated(scalars, kernel.scalar_dtypes)
    return None if kernel is None or numbers is None else replace(kernel, numbers=numbers)


def _repeated(scalars: Sequence[Any], dtypes: tuple[Dtype, ...]) -> list[Any] | None:
    """Return arrays of each number, in its type, as kernels load them; None if one does not fit."""
    typed = zip(scalars, dtypes, strict=True)
    try:
        return [np.array([value], dtype).repeat(STEP_BYTES) for value, dtype in typed]
    except OverflowError:
        return None


def fuse_ufunc(ufunc: np.ufunc, values: Sequence[Any]) -> Kernel | None:
    """Compile a ufunc for the types of arrays, and for numbers; None if NumPy computes it."""
    arrays = [x for x in values if isinstance(x, np.ndarray)]
    if ufunc not in NAMES or not arrays:
        return None
    names = [str(at) for at in range(len(values))]
    call = Call(NAMES[ufunc], tuple(range(len(values))))
    named = dict(zip(names, values, strict=True))
    steps, _, scalars = bind((*map(Name, names), call), named)
    return fuse(steps, tuple(x.dtype for x in arrays), scalars, is_exact=True)


@functools.lru_cache(256)
def _fuse(steps: Steps, operand_dtypes: tuple[Dtype, ...], is_exact: bool) -> Kernel | None:
    program = _Program(operand_dtypes, is_exact)
    try:
        body, dtype = program.write(steps)
        text = "\n".join([*libmvec.definitions(body), body])
        code = assemble(lowering.declared(text))
    except _Unfused:
        return None
    return Kernel(code, dtype, program.scalar_dtypes, tuple(program.loops))


class Values(NamedTuple):
    """The elements of an expression, which kernels compute in registers.

    Attributes
    ----------
    formula : Formula
    numbers : sequence of ndarray
        Those of the expression, as they are loaded.
    """

    formula: Formula
    numbers: Sequence[Any]

    def of(self, operands: Sequence[Any]) -> Elements:
        """Return the elements for operands of one shape, C-contiguous, aligned, and native."""
        return Elements(self.formula, [*operands, *self.numbers])


def fuse_values(
    steps: Steps, operand_dtypes: tuple[Dtype, ...], scalars: Sequence[Any]
) -> Values | None:
    """Write the steps that `binding.bind` gave as a formula, which kernels compute in registers.

    It gives the bits of ``fuse(steps, operand_dtypes, scalars, is_exact=False)``.

    Parameters
    ----------
    steps, operand_dtypes, scalars
        As for :func:`fuse`.

    Returns
    -------
    Values or None
        None where that is None, where it calls NumPy's loops, and for complex elements.
    """
    written = _fuse_values(steps, operand_dtypes)
    numbers = None if written is None else _repeated(scalars, written[1])
    return None if written is None or numbers is None else Values(written[0], numbers)


@functools.lru_cache(256)
def _fuse_values(
    steps: Steps, operand_dtypes: tuple[Dtype, ...]
) -> tuple[Formula, tuple[Dtype, ...]] | None:
    program = _Program(operand_dtypes, is_exact=False)
    try:
        text, dtype = program.write_value(steps, _NAME)
    except _Unfused:
        return None
    name = f"value-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    write = partial(_write_formula, text.replace(_NAME, name))
    formula = Formula(name, dtype, write, is_lasting=not libmvec.is_called(text))
    return formula, program.scalar_dtypes


# Stands for a name that depends on the text.
_NAME = "NAME"


def _write_formula(text: str, widths: Sequence[int]) -> str:
    functions = "\n".join(lowering.at_width(text, width) for width in widths)
    return lowering.declared("\n".join([*libmvec.definitions(functions), functions]))


@dataclass
class _Value:
    """An intermediate result: registers in the loop of one stage, memory, or both."""

    dtype: Dtype
    stage: int
    parts: Parts | None = None
    source: Source | None = None


class _Program:
    """The kernel's text: for each strip of the arrays, one stage after the other."""

    def __init__(self, operand_dtypes: tuple[Dtype, ...], is_exact: bool) -> None:
        self.scalars: dict[int, Dtype] = {}
        self.scratch = 0
        self.loops: list[NumpyLoop] = []
        self._operand_dtypes = operand_dtypes
        self._is_exact = is_exact
        self._values: list[Any] = []  # of _Value and Scalar, by the places of their steps
        self._stages = [Stage()]
        self._widest = 1

    def write(self, steps: Steps) -> tuple[str, Dtype]:
        """Return the text of the kernel that computes the steps, and the dtype of the last one."""
        result = self._result(steps)
        stages = self._stages[: result.stage + 1]
        parts = self._use(result, stages[-1])
        room = Room(FIRST + len(self._operand_dtypes) + len(self.scalars), self.scratch)
        return write_kernel(stages, result.dtype, parts, self._widest, room), result.dtype

    def write_value(self, steps: Steps, name: str) -> tuple[str, Dtype]:
        """Return the text of a formula that computes the steps, and the dtype of the last one."""
        result, stage = self._result(steps), self._stages[0]
        if result.stage or result.dtype.kind == "c":
            raise _Unfused
        return stage.value(name, result.dtype, self._use(result, stage)), result.dtype

    @property
    def scalar_dtypes(self) -> tuple[Dtype, ...]:
        """The dtypes of the numbers in the expression."""
        return tuple(kind for _, kind in sorted(self.scalars.items()))

    def _result(self, steps: Steps) -> _Value:
        """Append what computes the steps, and return the value of the last one."""
        for step in steps:
            self._values.append(step if isinstance(step, Scalar) else self._new_value(step))
        result: _Value = self._values[-1]
        return result

    def _new_value(self, step: Operand | Call) -> _Value:
        if isinstance(step, Operand):
            dtype = self._known(self._operand_dtypes[step.index])
            return _Value(dtype, 0, source=Source(FIRST + step.index, dtype))
        if step.function == "where":
            return self._where(*step.arguments)
        if step.function in ("real", "imag"):
            value = self._values[step.arguments[0]]
            part = partial(lowering.take_part, function=step.function)
            return self._compute(lowering.part_of(value.dtype), part, [value])
        ufunc: Any = UFUNCS[step.function]
        try:
            *wanted, dtype = ufunc.resolve_dtypes((*map(self._kind, step.arguments), None))
        except TypeError:  # NumPy says it better
            raise _Unfused from None
        # A negative exponent of an integer is an error, for which a loop needs the interpreter.
        if ufunc is np.power and dtype.kind == "i":
            raise _Unfused
        if step.function.startswith("** "):
            kind = self._kind(step.arguments[0]).kind
            if kind != "f" and not (step.function == "** 2" and kind in "iu"):
                raise _Unfused
        if is_widened := not self._is_exact and (step.function, dtype) in WIDENED:
            wanted, dtype = [np.dtype("f8")], np.dtype("f8")
        arguments = [self._as(*each) for each in zip(step.arguments, wanted, strict=True)]
        if all(kind == wanted[0] for kind in wanted):
            way = lowering.operate if self._is_exact else _operate_or_call
            operation = partial(way, function=ufunc.__name__, dtype=wanted[0])
            with contextlib.suppress(_Unfused):
                return self._compute(self._known(dtype), operation, arguments)
        loop = find_loop(ufunc, (*wanted, dtype))
        if loop is None:
            raise _Unfused
        result = self._call(loop, self._known(dtype), arguments)
        return self._converted(result, np.dtype("f4")) if is_widened else result

    def _kind(self, place: int) -> Any:
        value = self._values[place]
        return value.kind if isinstance(value, Scalar) else value.dtype

    def _as(self, place: int, dtype: Dtype) -> _Value:
        """Append what gives a step's value in a type."""
        value, dtype = self._values[place], self._known(dtype)
        if isinstance(value, _Value):
            return self._converted(value, dtype)
        self.scalars[value.index] = dtype
        pointer = FIRST + len(self._operand_dtypes) + value.index
        return _Value(dtype, 0, source=Source(pointer, dtype, is_scalar=True))

    def _converted(self, value: _Value, dtype: Dtype) -> _Value:
        """Append what gives a value in a type."""
        if value.dtype == dtype:
            return value
        conversion = partial(lowering.convert, old=value.dtype, new=dtype)
        return self._compute(dtype, conversion, [value])

    def _where(self, condition: int, x: int, y: int) -> _Value:
        kinds = [self._kind(place) for place in (x, y)]
        examples = [kind(1) if isinstance(kind, type) else kind for kind in kinds]
        dtype = np.result_type(*examples)
        arguments = [self._as(condition, np.dtype(bool)), self._as(x, dtype), self._as(y, dtype)]
        return self._compute(dtype, partial(lowering.choose, dtype=dtype), arguments)

    def _compute(
        self, dtype: Dtype, operation: Callable[..., Parts | None], arguments: list[_Value]
    ) -> _Value:
        """Append an operation on registers."""
        at = max(argument.stage for argument in arguments)
        stage = self._stages[at]
        registers = [self._use(argument, stage) for argument in arguments]
        parts = operation(stage.emit, arguments=registers)
        if parts is None:
            raise _Unfused
        return _Value(dtype, at, parts)

    def _call(self, loop: NumpyLoop, dtype: Dtype, arguments: list[_Value]) -> _Value:
        """Append a call of one of NumPy's loops."""
        stage = max(argument.stage for argument in arguments)
        strip = self._new_strip(dtype)
        sources = [*map(self._source_of, arguments), strip]
        self._stages[stage].calls.append((loop, sources))
        self.loops.append(loop)
        if stage + 1 == len(self._stages):
            self._stages.append(Stage())
        return _Value(dtype, stage + 1, source=strip)

    def _use(self, value: _Value, stage: Stage) -> Parts:
        """Return the registers that hold a value in the loop of a stage."""
        if value.parts is not None and self._stages[value.stage] is stage:
            return value.parts
        return stage.load(self._source_of(value))

    def _source_of(self, value: _Value) -> Source:
        """Return where a value is in memory after the loop of its stage."""
        if value.source is None:
            assert value.parts is not None
            value.source = self._new_strip(value.dtype)
            self._stages[value.stage].keep(value.parts, value.source)
        return value.source

    def _new_strip(self, dtype: Dtype) -> Source:
        strip = Source(SCRATCH, dtype, self.scratch)
        self.scratch += STRIP * dtype.itemsize
        return strip

    def _known(self, dtype: Dtype) -> Dtype:
        """Return a type that the processor has, in the order of bytes of the machine."""
        dtype = dtype.newbyteorder("=")
        if not lowering.is_known(dtype):
            raise _Unfused
        self._widest = max(self._widest, lowering.part_of(dtype).itemsize)
        return dtype


def _operate_or_call(emit: Emit, **operation: Any) -> Parts | None:
    return lowering.operate(emit, **operation) or libmvec.apply(emit, **operation)
