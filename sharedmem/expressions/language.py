"""The language of expressions: operators, functions, reductions, and the steps of a program."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sharedmem.engine.reduce import Axis

MAX_BITS = 64

# Operators in Python's syntax, on Python's numbers, and on arrays. NumPy computes powers by some
# numbers in ways of their own.
_OPERATORS: dict[str, tuple[type[ast.AST] | None, Callable[..., Any], np.ufunc]] = {
    "+": (ast.Add, operator.add, np.add), "-": (ast.Sub, operator.sub, np.subtract),
    "*": (ast.Mult, operator.mul, np.multiply), "/": (ast.Div, operator.truediv, np.divide),
    "//": (ast.FloorDiv, operator.floordiv, np.floor_divide),
    "%": (ast.Mod, operator.mod, np.remainder), "**": (ast.Pow, operator.pow, np.power),
    "** 2": (None, lambda x: x**2, np.square), "** 2.0": (None, lambda x: x**2.0, np.square),
    "** 0.5": (None, lambda x: x**0.5, np.sqrt), "** -1": (None, lambda x: x**-1, np.reciprocal),
    "** -1.0": (None, lambda x: x**-1.0, np.reciprocal),
    "&": (ast.BitAnd, operator.and_, np.bitwise_and), "|": (ast.BitOr, operator.or_, np.bitwise_or),
    "^": (ast.BitXor, operator.xor, np.bitwise_xor),
    "<<": (ast.LShift, operator.lshift, np.left_shift),
    ">>": (ast.RShift, operator.rshift, np.right_shift),
    "<": (ast.Lt, operator.lt, np.less), "<=": (ast.LtE, operator.le, np.less_equal),
    ">": (ast.Gt, operator.gt, np.greater), ">=": (ast.GtE, operator.ge, np.greater_equal),
    "==": (ast.Eq, operator.eq, np.equal), "!=": (ast.NotEq, operator.ne, np.not_equal),
    "negative": (ast.USub, operator.neg, np.negative),
    "positive": (ast.UAdd, operator.pos, np.positive),
    "~": (ast.Invert, operator.invert, np.invert),
}  # fmt: skip
SYMBOLS: dict[Any, str] = {node: symbol for symbol, (node, _, _) in _OPERATORS.items()}
OPERATORS = {symbol: function for symbol, (_, function, _) in _OPERATORS.items()}

_NAMES = (
    "sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh log log10 "
    "log1p log2 exp expm1 sqrt floor ceil trunc rint minimum maximum isnan isfinite isinf hypot "
    "power sign fmod square reciprocal abs conj real imag where clip"
)
FUNCTIONS: dict[str, Any] = {name: getattr(np, name) for name in _NAMES.split()}
# What computes operators and functions on arrays, but for real, imag, where, and clip.
UFUNCS = {
    **{symbol: ufunc for symbol, (_, _, ufunc) in _OPERATORS.items()},
    **{name: f for name, f in FUNCTIONS.items() if isinstance(f, np.ufunc)},
}
# Computed in float64, and rounded: logarithms of powers of ten must be exact, and those of NumPy's
# float32 loop for AVX-512 are not.
WIDENED = {("log10", np.dtype("f4"))}
N_ARGUMENTS = {"real": 1, "imag": 1, "where": 3, "clip": 3}

_REDUCTIONS = (
    "sum prod min max ptp mean var std any all count_nonzero argmin argmax "
    "nansum nanprod nanmin nanmax nanmean nanvar nanstd nanargmin nanargmax"
)
REDUCTIONS = frozenset(_REDUCTIONS.split())

CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}


@dataclass(frozen=True)
class Name:
    """An operand, by its name."""

    name: str


@dataclass(frozen=True)
class Literal:
    """A number, and its text, since True, 1, and 1.0 are equal."""

    value: Any
    text: str


@dataclass(frozen=True)
class Operand:
    """An array, by its place among the operands."""

    index: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Scalar:
    """A number, by its place among the numbers; `kind` is a type of Python's if it is weak."""

    index: int
    kind: Any


@dataclass(frozen=True)
class Call:
    """An operator or a function, and the places of the steps that it is applied to."""

    function: str
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Reduce:
    """A reduction, the place of the step that it is applied to, its options, and its text."""

    function: str
    argument: int
    axis: Axis
    keepdims: bool
    ddof: float
    text: str = field(compare=False)


# Steps as written, and bound to arrays and numbers. Each comes after those that it is applied to,
# and the last one is the result. So nothing goes through an expression by recursion, however many
# terms a sum has.
Written = Name | Literal | Call
Step = Operand | Scalar | Call
Steps = tuple[Step, ...]


def names_in(steps: Sequence[Written | Reduce]) -> Iterator[str]:
    """Yield the names of the operands of an expression."""
    return (step.name for step in steps if isinstance(step, Name))


def check_bits(value: Any) -> Any:
    """Return a number; refuse an integer of more than `MAX_BITS` bits."""
    if type(value) is int and not -(2 ** (MAX_BITS - 1)) <= value < 2**MAX_BITS:
        raise ValueError(
            f"an integer has {value.bit_length()} bits; at most {MAX_BITS} are allowed"
        )
    return value
