"""Expressions in a small part of Python's language: text to a checked tree, and what it means."""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_LENGTH = 10_000
MAX_DEPTH = 100
MAX_BITS = 64

# Python's operators, which mean to Python's numbers what they mean to Python.
OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow,
    "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "<<": operator.lshift, ">>": operator.rshift,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
    "negative": operator.neg, "positive": operator.pos, "~": operator.invert,
}  # fmt: skip

# Powers by these numbers NumPy computes in a way of their own.
POWERS = {f"** {number!r}": number for number in (2, 2.0, 0.5, -1, -1.0)}
OPERATORS |= {name: lambda base, exponent=number: base**exponent for name, number in POWERS.items()}

_UFUNC_NAMES = (
    "sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh log log10 "
    "log1p log2 exp expm1 sqrt floor ceil trunc rint minimum maximum isnan isfinite isinf hypot "
    "power sign fmod square reciprocal"
)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in _UFUNC_NAMES.split()},
    "abs": np.absolute,
    "conj": np.conjugate,
    "real": np.real,
    "imag": np.imag,
    "where": np.where,
}
# Computed in float64, and rounded: the logarithms of powers of ten have to be exact, and those of
# NumPy's float32 are not where the processor has AVX-512 (46 of 76).
WIDENED = {("log10", np.dtype("f4"))}
_N_ARGUMENTS = {"real": 1, "imag": 1, "where": 3, "clip": 3}

CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}

_SYMBOLS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<",
    ast.RShift: ">>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==",
    ast.NotEq: "!=", ast.USub: "negative", ast.UAdd: "positive", ast.Invert: "~",
}  # fmt: skip
_HINTS = {
    ast.And: "use & for and, with parentheses around comparisons",
    ast.Or: "use | for or, with parentheses around comparisons",
    ast.Not: "use ~ for not",
}


@dataclass(frozen=True)
class Name:
    """An operand, by its name."""

    name: str


@dataclass(frozen=True)
class Literal:
    """A number."""

    value: Any


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
    """An operator or a function, and what it is applied to."""

    function: str
    arguments: tuple[Any, ...]


Node = Name | Literal | Operand | Scalar | Call


def parse(expression: str) -> Node:
    """Turn text into a tree of names, numbers, operators and functions.

    Raises
    ------
    TypeError
        If `expression` is no text.
    ValueError
        If it is anything else than what :func:`sharedmem.evaluate` lists, or is too long, too
        deeply nested, or has numbers beyond 64 bits.
    """
    if not isinstance(expression, str):
        raise TypeError(f"the expression must be a str, got {type(expression).__name__}")
    return _parse(expression)


@functools.lru_cache(256)
def _parse(expression: str) -> Node:
    if len(expression) > MAX_LENGTH:
        raise ValueError(
            f"the expression has {len(expression)} characters; at most {MAX_LENGTH} are allowed"
        )
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{_short(expression)} is no expression: {error}") from None
    _check_depth(tree)
    return _check(tree)


def names_in(node: Node) -> Iterator[str]:
    """Yield the names of the operands of a tree."""
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, Call):
        for argument in node.arguments:
            yield from names_in(argument)


def bind(node: Node, values: Mapping[str, Any]) -> tuple[Node, list[str], list[Any]]:
    """Put numbers where they are known, and arrays in the places of their names.

    What depends on numbers only is computed here, once, and as Python and NumPy do it.

    Parameters
    ----------
    node : Node
        What :func:`parse` gives.
    values : mapping
        Arrays, and numbers of Python or NumPy, by name.

    Returns
    -------
    node : Node
        A tree of Call, Operand and Scalar, the same for all numbers of the same types.
    names : list of str
        The arrays, in the order of the operands.
    scalars : list
        The numbers.
    """
    names = [name for name, value in values.items() if np.ndim(value)]
    scalars: list[Any] = []

    def fold(node: Node) -> Any:
        """Return a number, or a tree without names."""
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Name):
            value: Any = values[node.name] if node.name in values else CONSTANTS[node.name]
            if np.ndim(value):
                return Operand(names.index(node.name), value.dtype)
            return value
        assert isinstance(node, Call)
        arguments = [fold(argument) for argument in node.arguments]
        if not any(isinstance(argument, Call | Operand) for argument in arguments):
            return _compute(node.function, arguments)
        if node.function == "**" and f"** {arguments[1]!r}" in POWERS:
            return Call(f"** {arguments[1]!r}", (arguments[0],))
        return Call(node.function, tuple(map(place, arguments)))

    def place(value: Any) -> Node:
        if isinstance(value, Call | Operand):
            return value
        scalars.append(value)
        return Scalar(len(scalars) - 1, _kind(value))

    return place(fold(node)), names, scalars


def compute(node: Node, operands: tuple[Any, ...], scalars: tuple[Any, ...]) -> Any:
    """Have NumPy compute a tree that :func:`bind` gave, one operation after the other."""
    if isinstance(node, Operand):
        return operands[node.index]
    if isinstance(node, Scalar):
        return scalars[node.index]
    assert isinstance(node, Call)
    return _apply(node.function, [compute(part, operands, scalars) for part in node.arguments])


def _apply(name: str, arguments: list[Any]) -> Any:
    function = OPERATORS.get(name) or FUNCTIONS[name]
    result = function(*arguments)
    if (name, getattr(result, "dtype", None)) in WIDENED:
        return function(*arguments, dtype="f8").astype(result.dtype)
    return result


def _kind(value: Any) -> Any:
    return type(value) if type(value) in (int, float, complex) else np.asarray(value).dtype


def _compute(function: str, numbers: list[Any]) -> Any:
    """Compute with numbers; those of Python must not grow beyond all bounds."""
    if all(type(number) is int for number in numbers):
        if function in ("**", "<<") and abs(numbers[1]) > MAX_BITS:
            raise ValueError(f"{numbers[0]} {function} {numbers[1]} has more than {MAX_BITS} bits")
        return _check_bits(_apply(function, numbers))
    return _apply(function, numbers)


def _check_bits(value: Any) -> Any:
    if type(value) is int and not -(2 ** (MAX_BITS - 1)) <= value < 2**MAX_BITS:
        raise ValueError(f"an integer of {value.bit_length()} bits; at most {MAX_BITS} are allowed")
    return value


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _refuse(node: ast.AST, why: str) -> ValueError:
    return ValueError(f"{_short(ast.unparse(node))} cannot be evaluated: {why}")


def _check_depth(tree: ast.AST) -> None:
    """Refuse deep trees, by a loop: recursion, and the compiler, must not see them."""
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"the expression is nested more than {MAX_DEPTH} levels deep")
        level = [
            child
            for node in level
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.expr)
        ]


def _check(node: ast.expr) -> Node:
    """Turn a tree of Python's into one of ours, which cannot hold anything else."""
    match node:
        case ast.Constant(value=value):
            if type(value) not in (bool, int, float, complex):
                raise _refuse(node, f"{type(value).__name__} is no number")
            return Literal(np.bool_(value) if type(value) is bool else _check_bits(value))
        case ast.Name(id=name):
            if name.startswith("__"):
                raise _refuse(node, "names with leading underscores are not allowed")
            return Name(name)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SYMBOLS:
            return Call(_SYMBOLS[type(op)], (_check(operand),))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SYMBOLS:
            return Call(_SYMBOLS[type(op)], (_check(left), _check(right)))
        case ast.Compare():
            return _check_comparisons(node)
        case ast.Call():
            return _check_call(node)
        case ast.BoolOp(op=op) | ast.UnaryOp(op=op):
            raise _refuse(node, _HINTS[type(op)])
    raise _refuse(node, f"{type(node).__name__} is not allowed")


def _check_comparisons(node: ast.Compare) -> Node:
    """Turn ``a < b < c`` into ``(a < b) & (b < c)``."""
    for middle in node.comparators[:-1]:  # each is computed twice, those in it four times ...
        if any(isinstance(part, ast.Compare) and len(part.ops) > 1 for part in ast.walk(middle)):
            raise _refuse(node, "chained comparisons in the middle of others are not allowed")
    sides = [_check(side) for side in (node.left, *node.comparators)]
    compared: list[Node] = []
    for at, op in enumerate(node.ops):
        if type(op) not in _SYMBOLS:
            raise _refuse(node, f"{type(op).__name__} is not allowed")
        compared.append(Call(_SYMBOLS[type(op)], (sides[at], sides[at + 1])))
    return functools.reduce(lambda left, right: Call("&", (left, right)), compared)


def _check_call(node: ast.Call) -> Node:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in FUNCTIONS and name != "clip":
        known = ", ".join(sorted({*FUNCTIONS, "clip"}))
        raise _refuse(node, f"{ast.unparse(node.func)} is none of the functions {known}")
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise _refuse(node, "functions take their arguments by position, one by one")
    expected = _N_ARGUMENTS.get(name) or FUNCTIONS[name].nin  # type: ignore[attr-defined]
    if len(node.args) != expected:
        raise _refuse(node, f"{name} takes {expected} arguments, got {len(node.args)}")
    arguments = tuple(map(_check, node.args))
    if name == "clip":
        x, low, high = arguments
        return Call("minimum", (Call("maximum", (x, low)), high))
    return Call(name, arguments)
