"""Expressions bound to arrays, and computed level by level on the pool in use."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.computed import Computed
from sharedmem.engine.operands import as_array, common_shape
from sharedmem.engine.reduce_computed import computed, reduce_computed
from sharedmem.expressions.expression import Bound, Expression, bound
from sharedmem.expressions.language import REDUCTIONS, Name, Reduce, names_in
from sharedmem.expressions.levels import Level, Plan
from sharedmem.functions import numpy_rules
from sharedmem.functions.average_rules import Average
from sharedmem.functions.chunkwise import apply_ufunc, reduce
from sharedmem.functions.outputs import kept_shape
from sharedmem.functions.reduction_rules import (
    Options,
    Position,
    Rule,
    is_default,
    result_dtype,
)
from sharedmem.pool.mapreduce import current_pool

Values = Mapping[str, Any]

_RULES: dict[str, Rule] = {name: getattr(numpy_rules, name.upper()) for name in REDUCTIONS}


class BoundPlan:
    """A plan for values of certain types and shapes.

    Parameters
    ----------
    plan : Plan
    values : mapping
        An array or a number for each name.

    Attributes
    ----------
    has_phases : bool
        Whether arrays are read in several passes.
    """

    def __init__(self, plan: Plan, values: Values) -> None:
        shapes = plan.check_shapes({name: np.shape(value) for name, value in values.items()})
        arguments = [*itertools.chain(*plan.levels)]
        reduced = {step.text for argument in arguments for step in argument.reductions}
        self._levels, self._shape = plan.levels, shapes[0]
        self.has_phases = bool(plan.levels) or len(plan.texts) > 1
        self._first = _bound_all(plan.levels[0], values) if plan.levels else []
        self._results = [
            (
                text,
                formula,
                bound(text, formula, values) if reduced.isdisjoint(names_in(formula)) else None,
            )
            for text, formula in zip(plan.texts, plan.results, strict=True)
        ]

    def results(self, values: Values, out: Any) -> list[Any]:
        """Return the result of each expression; that of a single one in `out`, if it is given."""
        if out is not None and self._levels:
            common_shape([self._shape, np.shape(out)])
        values = self._with_reductions(values)
        results: list[Any] = []
        for text, formula, known in self._results:
            if known is None and out is None and isinstance(formula[-1], Name):
                results.append(values[formula[-1].name])
                continue
            expression, names = known or bound(text, formula, values)
            if names or out is not None:
                operands = [values[name] for name in names]
                results.append(apply_ufunc(expression, *operands, out=out))
            else:
                results.append(expression.number())
        return results

    def unread(self, values: Values) -> Any:
        """Return the result of the only expression: an array, or what is computed as it is read."""
        values = self._with_reductions(values)
        ((text, formula, known),) = self._results
        expression, names = known or bound(text, formula, values)
        return _argument(expression, [values[name] for name in names], is_only=True)

    def _with_reductions(self, values: Values) -> Values:
        """Return values by name, with the results of reductions."""
        if self._levels:
            values = {name: as_operand(value) for name, value in values.items()}
        for at, level in enumerate(self._levels):
            expressions = self._first if at == 0 else _bound_all(level, values)
            values = {**values, **_reduced(level, expressions, values)}
        return values


def as_operand(value: Any) -> Any:
    """Return an array or a number; a Python number keeps its weak type."""
    if isinstance(value, bool):
        return np.bool_(value)
    if type(value) in (int, float, complex):
        return value
    value = as_array(value)
    return value if value.ndim else np.asarray(value[()])[()]


def _bound_all(level: Level, values: Values) -> list[Bound]:
    return [bound(reductions[0].text, formula, values) for formula, reductions in level]


def _rule_for(function: str, a: Any) -> Rule:
    """Return the rule for an array; no element of one without elements is NaN."""
    rule = _RULES[function]
    is_empty = isinstance(a, np.ndarray) and not a.size
    return (rule.plain or rule) if is_empty else rule.of(a.dtype)


def _value(rule: Rule, a: NDArray[Any], options: Options) -> Any:
    """Return the value of a rule for an array; NumPy may warn of what kernels do not take."""
    if isinstance(rule, Position):
        return rule.apply(a, options)
    value = rule.planned(a) if is_default(options) else None
    if value is not None:
        return value
    if a.ndim == 0 and options.axis is None:
        a, options = a.reshape(1), options._replace(keepdims=False)
    result = result_dtype(rule, a.dtype, None)
    if isinstance(rule, Average) and result is not None and not a.size:
        shape = kept_shape(a, options.axis, options.keepdims)
        return np.true_divide(np.zeros(shape, result), 0)[()]
    if result is None or not (a.ndim and a.size):
        return rule.by_numpy(a, options)
    return rule.finished(reduce(*rule.request(a, result, options)), a, result, options)


def _reduced(level: Level, expressions: Sequence[Bound], values: Values) -> dict[str, Any]:
    """Return the results of the reductions of a level, by their texts."""
    is_only = len(level) == len(level[0].reductions) == 1
    results: dict[str, Any] = {}
    requests, finishes = [], []
    for (_, reductions), (expression, names) in zip(level, expressions, strict=True):
        operands = [values[name] for name in names]
        a = _argument(expression, operands, is_only)
        for step in reductions:
            options = Options(axis=step.axis, keepdims=step.keepdims, ddof=step.ddof)
            rule = _rule_for(step.function, a)
            result = result_dtype(rule, a.dtype, None)
            if isinstance(a, Computed) and (result is None or not _covers(step, a)):
                a = apply_ufunc(expression, *operands)
            if isinstance(a, np.ndarray):
                results[step.text] = _value(rule, a, options)
            elif result is None:
                results[step.text] = rule.by_numpy(a, options)
            else:
                requests.append(rule.request(a, result, options))
                finish = partial(rule.finished, a=a, result=result, options=options)
                finishes.append((step.text, finish))
    reduced = reduce_computed(current_pool().runner, requests) if requests else []
    for (text, finish), value in zip(finishes, reduced, strict=True):
        results[text] = finish(value)
    return results


def _argument(expression: Expression, operands: list[Any], is_only: bool) -> Any:
    """Return what is reduced: an array, or one that is computed as it is read."""
    if not operands:
        return np.asarray(expression.number())
    if all(isinstance(x, np.ndarray) for x in operands):
        in_order = all(x.flags.c_contiguous for x in operands)  # so NumPy's result is, too
        if in_order and (expression.is_small() or (is_only and expression.is_name())):
            return np.asarray(expression.compute(operands, expression.scalars))
        if expression.is_small():
            return apply_ufunc(expression, *operands)
    a = computed(current_pool().runner, expression, operands)
    return np.empty(a.shape, a.dtype) if 0 in a.shape else a


def _covers(step: Reduce, a: Computed) -> bool:
    """Return whether an array need not be stored: indices of all elements count in C order."""
    return "arg" not in step.function or step.axis is not None or a.order == (*range(a.ndim),)
