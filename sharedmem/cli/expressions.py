"""Expressions of arrays in files for `sharedmem stats`: the names of arrays, and the results."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from sharedmem.cli.inputs import Skipped, StoredArray, checked, listed, open_files, text_of
from sharedmem.cli.options import UsageError
from sharedmem.expressions.language import CONSTANTS, names_in
from sharedmem.expressions.levels import Formula, Plan, plan
from sharedmem.expressions.parsing import short
from sharedmem.functions.evaluate import evaluate
from sharedmem.functions.expression_plans import BoundPlan, as_operand

# What is given under a name; there should be one.
_Given = Mapping[str, Sequence[StoredArray | Skipped]]


def open_expressions(options: Namespace) -> list[StoredArray]:
    """Open files, and find the arrays of expressions in them; read nothing else.

    Parameters
    ----------
    options : Namespace
        Those of ``stats``. An array has the name of its member, without groups, or of its file,
        without the suffix. ``name=FILE`` gives another name, which no other file has then.

    Returns
    -------
    list of StoredArray
        One for each of `options.expr`. What it loads is computed when it is read.

    Raises
    ------
    UsageError
        If a file cannot be read, a name is not that of one array, or an expression is invalid or
        does not give real numbers.
    """
    files = [_split_name(file) for file in options.files]
    texts = [" ".join(text.split()) for text in options.expr]
    plans = [_planned(text) for text in texts]
    used = frozenset().union(*(plan.names for plan in plans))
    for name, file in files:
        if name is not None and name not in used:
            raise UsageError(f"{name}={file}: {name} is not in {' or '.join(map(short, texts))}")
    given: dict[str, list[StoredArray | Skipped]] = {}
    named: dict[str, list[StoredArray | Skipped]] = {}
    opened = open_files([file for _, file in files], options)
    for (name, _), (path, parts) in zip(files, opened, strict=True):
        for part in parts:
            member = part.name.removeprefix(str(path))[1:-1]
            if isinstance(part, Skipped) and not member:
                raise UsageError(f"{path}: {part.reason}")
            if name is None:
                given.setdefault(member.rpartition("/")[2] or path.stem, []).append(part)
            else:
                named.setdefault(name, []).append(part)
    return [_expression(plan, {**given, **named}) for plan in plans]


def _split_name(file: str) -> tuple[str | None, str]:
    """Return the name that is given to an array, and its file."""
    name, equals, rest = file.partition("=")
    is_named = equals and name.isidentifier() and not os.path.lexists(file)
    return (name, rest) if is_named else (None, file)


def _planned(text: str) -> Plan:
    try:
        return plan(text)
    except ValueError as error:
        raise UsageError(f"--expr: {error}") from error


def _expression(plan: Plan, given: _Given) -> StoredArray:
    """Return an array that is computed from others."""
    (text,), (result,) = plan.texts, plan.results
    what = f"--expr {short(text)}"
    arrays = {
        name: _only(what, name, given)
        for name in sorted(plan.names)
        if name in given or name not in CONSTANTS
    }
    if not arrays:
        raise UsageError(f"{what} contains no name of an array, such as {listed([*given])}")
    # Reductions need an element. Otherwise there is none: NumPy refuses some powers of integers.
    n = 1 if plan.levels else 0
    small = {name: np.zeros((n,) * max(1, len(a.shape)), a.dtype) for name, a in arrays.items()}
    try:
        (shape,) = plan.check_shapes({name: a.shape for name, a in arrays.items()})
        dtype = np.asarray(evaluate(text, small)).dtype
    except ValueError as error:
        raise UsageError(f"--expr: {error}") from error
    except TypeError as error:
        raise UsageError(f"{what}: {error}") from error

    def nbytes(*formulas: Formula) -> int:
        names = {name for formula in formulas for name in names_in(formula)}
        return sum(a.nbytes for name, a in arrays.items() if name in names)

    is_fragile = any(a.is_fragile for a in arrays.values())
    reads = sum(nbytes(*(formula for formula, _ in level)) for level in plan.levels), nbytes(result)
    array = StoredArray(text, shape, dtype, partial(_load, plan, arrays), is_fragile, reads)
    refused = checked(array)
    if isinstance(refused, Skipped):
        raise UsageError(f"{refused.name}: {refused.reason}")
    return array


def _only(what: str, name: str, given: _Given) -> StoredArray:
    """Return the only array of a name."""
    found = given.get(name, [])
    if len(found) != 1:
        names = listed([part.name for part in found] or [*given])
        raise UsageError(
            f"{what}: {name} {'may be any' if found else 'is none'} of {names}; give it as "
            f"{name}=FILE or {name}=FILE[member]"
        )
    (array,) = found
    if isinstance(array, Skipped):
        raise UsageError(f"{array.name}: {array.reason}")
    return array


def _load(plan: Plan, arrays: Mapping[str, StoredArray]) -> Any:
    """Return an array, or what is computed as it is read."""
    values = {name: as_operand(_loaded(a)) for name, a in arrays.items()}
    return BoundPlan(plan, values).unread(values)


def _loaded(array: StoredArray) -> Any:
    try:
        return array.load()
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(f"{array.name}: {text_of(error)}") from error
