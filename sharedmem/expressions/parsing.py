"""Expressions in a small part of Python's language: text to checked steps."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from sharedmem.engine.operands import as_tuple
from sharedmem.expressions.language import (
    FUNCTIONS,
    N_ARGUMENTS,
    REDUCTIONS,
    SYMBOLS,
    Call,
    Literal,
    Name,
    Reduce,
    Written,
    check_bits,
)

MAX_LENGTH = 10_000
MAX_DEPTH = 100

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
# Options of reductions: which values they take, and what these are called.
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "axis": (
        lambda axis: axis is None or all(type(part) is int for part in as_tuple(axis)),
        "an integer, a tuple of integers, or None",
    ),
    "keepdims": (lambda value: type(value) is bool, "True or False"),
    "ddof": (lambda value: type(value) in (int, float), "a number"),
}
_ASSOCIATIVE = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor)


class Parsed(NamedTuple):
    """The steps of expressions, and the places of their results."""

    steps: tuple[Written | Reduce, ...]
    results: tuple[int, ...]


def parse(*expressions: str) -> Parsed:
    """Turn texts into steps: names, numbers, operators, functions, and reductions.

    Equal parts are one step, also those of different expressions.

    Raises
    ------
    ValueError
        If a text is anything else than what :func:`sharedmem.evaluate` lists, or is too long, too
        deeply nested, or has numbers beyond 64 bits.
    """
    writer = _Writer()
    results = tuple([writer.write(text.strip(), _tree_of(text)) for text in expressions])
    return Parsed(writer.steps, results)


def _tree_of(expression: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise ValueError(
            f"the expression has {len(expression)} characters; at most {MAX_LENGTH} are allowed"
        )
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{short(expression)} is not an expression: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError(
            f"{short(expression)} has more terms than Python's parser accepts here, or is nested "
            "too deeply; evaluate parts of it"
        ) from None


def short(text: str) -> str:
    """Return the text of a part of an expression as errors show it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Writer:
    """Steps of the nodes of a tree of Python's, which cannot hold anything else."""

    def __init__(self) -> None:
        self._text = ""
        self._places: dict[Written | Reduce, int] = {}

    @property
    def steps(self) -> tuple[Written | Reduce, ...]:
        """All steps, each after its parts."""
        return tuple(self._places)

    def write(self, text: str, tree: ast.expr) -> int:
        """Append the steps of a tree, and return the place of its result."""
        self._text = text
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
        return place_of[tree]

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
            case ast.UnaryOp(op=op, operand=operand) if type(op) in SYMBOLS:
                return [operand], partial(self._call, SYMBOLS[type(op)])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in SYMBOLS:
                return [left, right], partial(self._call, SYMBOLS[type(op)])
            case ast.Compare(ops=ops):
                return self._sides_of(node), partial(self._compare, ops)
            case ast.Call(func=ast.Name(id=name)) if name in REDUCTIONS:
                options = self._options_of(node, name)
                return node.args[:1], partial(self._reduce, name, self._source_of(node), *options)
            case ast.Call():
                parts = self._arguments_of(node)
                return parts, partial(self._call, node.func.id)  # type: ignore[attr-defined]
        kind: Any = type(getattr(node, "op", node))
        raise self._refuse(node, _INSTEAD.get(kind, f"{kind.__name__} is not allowed; {_ALLOWED}"))

    def _append(self, step: Written | Reduce) -> int:
        """Append a step, unless it is there already, and return its place."""
        return self._places.setdefault(step, len(self._places))

    def _call(self, function: str, *arguments: int) -> int:
        if function == "clip":
            x, low, high = arguments
            return self._call("minimum", self._call("maximum", x, low), high)
        return self._append(Call(function, arguments))

    def _reduce(self, name: str, text: str, axis: Any, is_kept: bool, ddof: Any, at: int) -> int:
        return self._append(Reduce(name, at, axis, is_kept, ddof, text))

    def _compare(self, ops: list[ast.cmpop], *sides: int) -> int:
        pairs = zip(ops, pairwise(sides), strict=True)
        compared = [self._call(SYMBOLS[type(op)], *pair) for op, pair in pairs]
        return functools.reduce(partial(self._call, "&"), compared)  # a < b < c: (a < b) & (b < c)

    def _sides_of(self, node: ast.Compare) -> list[ast.expr]:
        for op in node.ops:
            if type(op) not in SYMBOLS:
                raise self._refuse(node, f"{type(op).__name__} is not allowed; {_COMPARISONS}")
        inner = [part for middle in node.comparators[:-1] for part in ast.walk(middle)]
        if any(isinstance(part, ast.Compare) and len(part.ops) > 1 for part in inner):
            why = "chained comparisons in the middle of others are not allowed; use &"
            raise self._refuse(node, why)
        return [node.left, *node.comparators]

    def _arguments_of(self, node: ast.Call) -> list[ast.expr]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            known = ", ".join(sorted({*FUNCTIONS, *REDUCTIONS}))
            why = f"{self._source_of(node.func)} is not one of the functions {known}"
            raise self._refuse(node, why)
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._refuse(node, "arguments of functions must be positional, without *")
        expected = N_ARGUMENTS.get(name) or FUNCTIONS[name].nin
        if len(node.args) != expected:
            raise self._refuse(node, f"{name} takes {expected} arguments, got {len(node.args)}")
        return node.args

    def _options_of(self, node: ast.Call, name: str) -> tuple[Any, bool, Any]:
        """Return the axis of a reduction, whether it is kept, and the degrees of freedom lost."""
        if not 1 <= len(node.args) <= 2 or any(isinstance(x, ast.Starred) for x in node.args):
            got = f"got {len(node.args)} arguments, which must not have *"
            raise self._refuse(node, f"{name} takes an array, and then the axis; {got}")
        known = ["axis", "keepdims"] + ["ddof"] * name.endswith(("var", "std"))
        given: dict[Any, ast.expr] = dict(zip(("axis",), node.args[1:], strict=False))
        for keyword in node.keywords:
            if keyword.arg not in known or keyword.arg in given:
                fault = "is given twice" if keyword.arg in given else "is not an option"
                why = f"{keyword.arg or '**'} {fault}; {name} takes {', '.join(known)}"
                raise self._refuse(node, why)
            given[keyword.arg] = keyword.value
        values = {option: self._literal(node, option, part) for option, part in given.items()}
        axis = values.get("axis")
        if "arg" in name and isinstance(axis, tuple):
            raise self._refuse(node, f"axis of {name} must be an integer or None, got {axis}")
        return axis, values.get("keepdims", False), values.get("ddof", 0)

    def _literal(self, node: ast.Call, option: str, part: ast.expr) -> Any:
        """Return the value of an option, which must be written as what it is."""
        try:
            value = ast.literal_eval(part)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            value = part
        is_valid, what = _OPTIONS[option]
        if is_valid(value):
            return value
        raise self._refuse(node, f"{option} must be {what}, got {short(self._source_of(part))}")

    def _source_of(self, node: ast.expr) -> str:
        return ast.get_source_segment(self._text, node) or ""

    def _refuse(self, node: ast.expr, why: str) -> ValueError:
        return ValueError(f"{short(self._source_of(node))} cannot be evaluated: {why}")


def _continues(node: ast.expr, part: ast.expr) -> bool:
    """Return whether a part continues a chain, whose length does not count as depth."""
    match node, part:
        case ast.BinOp(), ast.BinOp():
            is_same = type(node.op) is type(part.op) and isinstance(node.op, _ASSOCIATIVE)
            return part is node.left or is_same
        case ast.Call(func=ast.Name(id=name)), ast.Call(func=ast.Name(id=other)):
            return name == other and name in ("minimum", "maximum")
    return False
