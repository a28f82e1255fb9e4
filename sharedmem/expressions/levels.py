"""Expressions with reductions, cut into levels: expressions without, and reductions of them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.exceptions import AxisError
from numpy.lib.array_utils import normalize_axis_tuple

from sharedmem.expressions.language import CONSTANTS, Call, Name, Reduce, Written, names_in
from sharedmem.expressions.parsing import parse, short

Shape = tuple[int, ...]
# An expression without reductions: it has their results by name, and the name is their text.
Formula = tuple[Written, ...]


class Argument(NamedTuple):
    """What is reduced, and all its reductions."""

    formula: Formula
    reductions: tuple[Reduce, ...]


# Reductions that need no results but those of levels before.
Level = tuple[Argument, ...]


@dataclass(frozen=True)
class Plan:
    """The order in which expressions are computed.

    Attributes
    ----------
    texts : tuple of str
        The expressions.
    names : frozenset of str
        The names of their arrays and numbers.
    levels : tuple of Level
    results : tuple of Formula
    """

    texts: tuple[str, ...]
    names: frozenset[str]
    levels: tuple[Level, ...]
    results: tuple[Formula, ...]

    def check_shapes(self, shapes: Mapping[str, Shape]) -> list[Shape]:
        """Return the shapes of results.

        Refuse arrays whose shapes do not fit together, or lack an axis that is reduced.
        """
        shapes = {**dict.fromkeys(CONSTANTS, ()), **shapes}
        for formula, reductions in itertools.chain(*self.levels):
            shape = _common_shape(reductions[0].text, formula, shapes)
            shapes |= {step.text: _reduced_shape(step, shape) for step in reductions}
        return [
            _common_shape(text, formula, shapes)
            for text, formula in zip(self.texts, self.results, strict=True)
        ]


@functools.lru_cache(256)
def plan(*expressions: str) -> Plan:
    """Return the plan of expressions; raise as :func:`~sharedmem.expressions.parsing.parse` does.

    Reductions of equal arguments, also of different expressions, are of one level and argument.
    """
    steps, results = parse(*expressions)
    depths: list[int] = []
    by_depth: dict[int, dict[int, list[Reduce]]] = {}
    for step in steps:
        depths.append(max((depths[part] for part in _parts(step)), default=0))
        if isinstance(step, Reduce):
            of_arguments = by_depth.setdefault(depths[-1], {})
            of_arguments.setdefault(step.argument, []).append(step)
            depths[-1] += 1
    levels = [
        tuple(Argument(_formula(steps, at), tuple(some)) for at, some in by_depth[depth].items())
        for depth in sorted(by_depth)
    ]
    formulas = tuple(_formula(steps, place) for place in results)
    return Plan(expressions, frozenset(names_in(steps)), tuple(levels), formulas)


def _parts(step: Written | Reduce) -> tuple[int, ...]:
    """Return the places of the steps that a step is applied to."""
    if isinstance(step, Reduce):
        return (step.argument,)
    return step.arguments if isinstance(step, Call) else ()


def _formula(steps: Sequence[Written | Reduce], place: int) -> Formula:
    """Return the steps of which one is the result, with reductions as names."""
    needed, left = set(), [place]
    while left:
        at = left.pop()
        if at not in needed:
            needed.add(at)
            left += _parts(steps[at]) if not isinstance(steps[at], Reduce) else ()
    places: dict[int, int] = {}
    formula: list[Written] = []
    for at in sorted(needed):
        step = steps[at]
        if isinstance(step, Reduce):
            step = Name(step.text)
        elif isinstance(step, Call):
            step = Call(step.function, tuple(places[part] for part in step.arguments))
        places[at] = len(formula)
        formula.append(step)
    return tuple(formula)


def _common_shape(text: str, formula: Formula, shapes: Mapping[str, Shape]) -> Shape:
    named = {name: shapes[name] for name in names_in(formula)}
    try:
        return np.broadcast_shapes(*named.values())
    except ValueError:
        given = ", ".join(f"{name} has shape {shape}" for name, shape in named.items() if shape)
        hint = "; keepdims=True keeps reduced axes, with length 1" * any("(" in x for x in named)
        raise ValueError(
            f"{short(text)} cannot be evaluated, since its shapes cannot be broadcast together: "
            f"{given}; compared from the last axis, lengths must be equal or 1{hint}"
        ) from None


def _reduced_shape(step: Reduce, shape: Shape) -> Shape:
    ndim = len(shape)
    try:
        # NumPy takes the axes of an array for those of a number.
        axes = normalize_axis_tuple(range(ndim) if step.axis is None else step.axis, ndim or 1)
    except (ValueError, OverflowError) as error:
        raise AxisError(f"{short(step.text)} cannot be evaluated: {error}") from None
    if step.keepdims:
        return tuple(1 if at in axes else n for at, n in enumerate(shape))
    return tuple(n for at, n in enumerate(shape) if at not in axes)
