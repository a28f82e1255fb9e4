"""Expressions in a small part of Python's language: text to checked steps, and what they mean."""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

MAX_LENGTH = 10_000
MAX_DEPTH = 100
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
_SYMBOLS: dict[Any, str] = {node: symbol for symbol, (node, _, _) in _OPERATORS.items()}
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
_N_ARGUMENTS = {"real": 1, "imag": 1, "where": 3, "clip": 3}

CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}

# Why other syntax is refused, and what to write instead.
_INSTEAD: dict[type[ast.AST], str] = {
    ast.And: "use & for and, with parentheses around comparisons",
    ast.Or: "use | for or, with parentheses around comparisons",
    ast.Not: "use ~ for not",
    ast.IfExp: "use where(condition, x, y) for a conditional expression",
    ast.Subscript: "give the part as an array: evaluate('x + 1', x=a[0])",
    ast.Attribute: (
        "give the attribute as an array, evaluate('x + 1', x=a.T); functions are called without "
        "np., and parts of complex numbers are real(a) and imag(a)"
    ),
    ast.MatMult: "use sharedmem.dot, or numpy.matmul in sharedmem.apply_ufunc, for @",
    ast.List: "give the list as an array: evaluate('x + 1', x=[1, 2])",
    ast.Tuple: "give the tuple as an array: evaluate('x + 1', x=(1, 2))",
}
_ALLOWED = "only names, numbers, operators, and calls of functions are"
_COMPARISONS = "only <, <=, >, >=, ==, and != are"
_ASSOCIATIVE = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor)


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


# Steps as written, and bound to arrays and numbers. Each comes after those that it is applied to,
# and the last one is the result. So nothing goes through an expression by recursion, however many
# terms a sum has.
Written = Name | Literal | Call
Step = Operand | Scalar | Call
Steps = tuple[Step, ...]


def parse(expression: str) -> tuple[Written, ...]:
    """Turn text into steps: names, numbers, operators and functions.

    Raises
    ------
    TypeError
        If `expression` is not a str.
    ValueError
        If it is anything else than what :func:`sharedmem.evaluate` lists, or is too long, too
        deeply nested, or has numbers beyond 64 bits.
    """
    if not isinstance(expression, str):
        raise TypeError(f"the expression must be a str, got {type(expression).__name__}")
    return _parse(expression)


@functools.lru_cache(256)
def _parse(expression: str) -> tuple[Written, ...]:
    if len(expression) > MAX_LENGTH:
        raise ValueError(
            f"the expression has {len(expression)} characters; at most {MAX_LENGTH} are allowed"
        )
    text = expression.strip()
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{_short(expression)} is not an expression: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError(
            f"{_short(expression)} has more terms than Python's parser accepts here, or is nested "
            "too deeply; evaluate parts of it"
        ) from None
    return _Writer(text).steps_of(tree)


def names_in(steps: Sequence[Written]) -> Iterator[str]:
    """Yield the names of the operands of an expression."""
    return (step.name for step in steps if isinstance(step, Name))


def check_bits(value: Any) -> Any:
    """Return a number; refuse an integer of more than `MAX_BITS` bits."""
    if type(value) is int and not -(2 ** (MAX_BITS - 1)) <= value < 2**MAX_BITS:
        raise ValueError(
            f"an integer has {value.bit_length()} bits; at most {MAX_BITS} are allowed"
        )
    return value


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Writer:
    """Steps of the nodes of a tree of Python's, which cannot hold anything else."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._places: dict[Written, int] = {}

    def steps_of(self, tree: ast.expr) -> tuple[Written, ...]:
        """Return the steps of a tree, each after its parts; refuse what is nested too deeply."""
        found, left = [], [(tree, 1)]
        while left:
            node, level = left.pop()
            if level > MAX_DEPTH:
                raise ValueError(f"the expression is nested more than {MAX_DEPTH} levels deep")
            parts, append = self._read(node)
            found.append((node, parts, append))
            left += [(part, level + (not _continues(node, part))) for part in parts]
        place_of: dict[ast.expr, int] = {}
        for node, parts, append in reversed(found):
            place_of[node] = append(*(place_of[part] for part in parts))
        return tuple(self._places)

    def _read(self, node: ast.expr) -> tuple[list[ast.expr], Callable[..., int]]:
        """Return what a node is applied to, and what appends its step; refuse all but a few."""
        match node:
            case ast.Constant(value=value):
                if type(value) not in (bool, int, float, complex):
                    raise self._refuse(node, f"{type(value).__name__} is not a number")
                number = np.bool_(value) if type(value) is bool else check_bits(value)
                return [], partial(self._append, Literal(number, repr(number)))
            case ast.Name(id=name):
                if name.startswith("__"):
                    raise self._refuse(node, "names with leading underscores are not allowed")
                return [], partial(self._append, Name(name))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _SYMBOLS:
                return [operand], partial(self._call, _SYMBOLS[type(op)])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _SYMBOLS:
                return [left, right], partial(self._call, _SYMBOLS[type(op)])
            case ast.Compare(ops=ops):
                return self._sides_of(node), partial(self._compare, ops)
            case ast.Call():
                parts = self._arguments_of(node)
                return parts, partial(self._call, node.func.id)  # type: ignore[attr-defined]
        kind: Any = type(getattr(node, "op", node))
        raise self._refuse(node, _INSTEAD.get(kind, f"{kind.__name__} is not allowed; {_ALLOWED}"))

    def _append(self, step: Written) -> int:
        """Append a step, unless it is there already, and return its place."""
        return self._places.setdefault(step, len(self._places))

    def _call(self, function: str, *arguments: int) -> int:
        if function == "clip":
            x, low, high = arguments
            return self._call("minimum", self._call("maximum", x, low), high)
        return self._append(Call(function, arguments))

    def _compare(self, ops: list[ast.cmpop], *sides: int) -> int:
        pairs = zip(ops, pairwise(sides), strict=True)
        compared = [self._call(_SYMBOLS[type(op)], *pair) for op, pair in pairs]
        return functools.reduce(partial(self._call, "&"), compared)  # a < b < c: (a < b) & (b < c)

    def _sides_of(self, node: ast.Compare) -> list[ast.expr]:
        for op in node.ops:
            if type(op) not in _SYMBOLS:
                raise self._refuse(node, f"{type(op).__name__} is not allowed; {_COMPARISONS}")
        inner = [part for middle in node.comparators[:-1] for part in ast.walk(middle)]
        if any(isinstance(part, ast.Compare) and len(part.ops) > 1 for part in inner):
            why = "chained comparisons in the middle of others are not allowed; use &"
            raise self._refuse(node, why)
        return [node.left, *node.comparators]

    def _arguments_of(self, node: ast.Call) -> list[ast.expr]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            known = ", ".join(sorted(FUNCTIONS))
            why = f"{self._source_of(node.func)} is not one of the functions {known}"
            raise self._refuse(node, why)
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._refuse(node, "arguments of functions must be positional, without *")
        expected = _N_ARGUMENTS.get(name) or FUNCTIONS[name].nin
        if len(node.args) != expected:
            raise self._refuse(node, f"{name} takes {expected} arguments, got {len(node.args)}")
        return node.args

    def _source_of(self, node: ast.expr) -> str:
        return ast.get_source_segment(self._text, node) or ""

    def _refuse(self, node: ast.expr, why: str) -> ValueError:
        return ValueError(f"{_short(self._source_of(node))} cannot be evaluated: {why}")


def _continues(node: ast.expr, part: ast.expr) -> bool:
    """Return whether a part continues a chain, whose length does not count as depth."""
    match node, part:
        case ast.BinOp(), ast.BinOp():
            is_same = type(node.op) is type(part.op) and isinstance(node.op, _ASSOCIATIVE)
            return part is node.left or is_same
        case ast.Call(func=ast.Name(id=name)), ast.Call(func=ast.Name(id=other)):
            return name == other and name in ("minimum", "maximum")
    return False
