"""Steps of expressions bound to arrays and numbers, and computed by NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sharedmem.expressions.language import (
    CONSTANTS,
    FUNCTIONS,
    MAX_BITS,
    OPERATORS,
    WIDENED,
    Call,
    Literal,
    Name,
    Operand,
    Scalar,
    Step,
    Steps,
    Written,
    check_bits,
)

_WIDENED = {name for name, _ in WIDENED}


def bind(steps: Sequence[Written], values: Mapping[str, Any]) -> tuple[Steps, list[str], list[Any]]:
    """Put numbers where they are known, and arrays in the places of their names.

    Steps on numbers alone are computed here, by Python and NumPy.

    Parameters
    ----------
    steps : sequence of Written
        The result of :func:`parse`.
    values : mapping
        Arrays, and numbers of Python or NumPy, by name.

    Returns
    -------
    steps : tuple of Step
        Those of Call, Operand and Scalar, the same for all numbers of the same types.
    names : list of str
        The arrays, in the order of the operands.
    scalars : list
        The numbers.
    """
    names = [name for name, value in values.items() if np.ndim(value)]
    bound: list[Step] = []
    scalars: list[Any] = []
    numbers: dict[int, Any] = {}
    places: dict[int, int] = {}

    def append(step: Step) -> int:
        bound.append(step)
        return len(bound) - 1

    def place(at: int) -> int:
        """Return the place of a step; a number is appended for each use, which gives its type."""
        if at in places:
            return places[at]
        scalars.append(numbers[at])
        is_weak = type(numbers[at]) in (int, float, complex)
        kind = type(numbers[at]) if is_weak else np.asarray(numbers[at]).dtype
        return append(Scalar(len(scalars) - 1, kind))

    for at, step in enumerate(steps):
        if isinstance(step, Name) and step.name in names:
            places[at] = append(Operand(names.index(step.name), values[step.name].dtype))
        elif isinstance(step, Name):
            numbers[at] = values[step.name] if step.name in values else CONSTANTS[step.name]
        elif isinstance(step, Literal):
            numbers[at] = step.value
        else:
            function, arguments = step.function, step.arguments
            if numbers.keys() >= set(arguments):
                numbers[at] = _compute(function, [numbers[part] for part in arguments])
                continue
            if function == "**" and (power := f"** {numbers.get(arguments[1])!r}") in OPERATORS:
                function, arguments = power, arguments[:1]
            places[at] = append(Call(function, tuple(map(place, arguments))))
    if not places:
        place(len(steps) - 1)
    return tuple(bound), names, scalars


class Computation:
    """Steps as :func:`bind` returns them, which NumPy computes one after the other."""

    def __init__(self, steps: Steps) -> None:
        last_use = {at: user for user, step in enumerate(steps) for at in _arguments(step)}
        self._length = len(steps)
        self._operands = [(at, s.index) for at, s in enumerate(steps) if isinstance(s, Operand)]
        self._scalars = [(at, s.index) for at, s in enumerate(steps) if isinstance(s, Scalar)]
        self._calls = [
            (at, s.function, s.arguments, [part for part in last_use if last_use[part] == at])
            for at, s in enumerate(steps)
            if isinstance(s, Call)
        ]

    def __call__(self, operands: Sequence[Any], scalars: Sequence[Any]) -> Any:
        """Return the result; intermediate ones are freed after their last use."""
        values: list[Any] = [None] * self._length
        for at, index in self._operands:
            values[at] = operands[index]
        for at, index in self._scalars:
            values[at] = scalars[index]
        for at, function, arguments, done in self._calls:
            values[at] = _apply(function, [values[part] for part in arguments])
            for part in done:
                values[part] = None
        return values[-1]


def _arguments(step: Step) -> tuple[int, ...]:
    return step.arguments if isinstance(step, Call) else ()


def _apply(name: str, arguments: list[Any]) -> Any:
    function = OPERATORS.get(name) or FUNCTIONS[name]
    result = function(*arguments)
    if name in _WIDENED and (name, getattr(result, "dtype", None)) in WIDENED:
        return function(*arguments, dtype="f8").astype(result.dtype)
    return result


def _compute(function: str, numbers: list[Any]) -> Any:
    """Compute a number; refuse integers of more than 64 bits."""
    if function in ("**", "<<") and all(type(number) is int for number in numbers):
        base, exponent = numbers
        if abs(exponent) > MAX_BITS:
            raise ValueError(f"{base} {function} {exponent} has more than {MAX_BITS} bits")
    return check_bits(_apply(function, numbers))
