"""Functions of arrays that take labels of pandas and xarray, and give them back."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from sharedmem.arrays.conversion import as_ndarray
from sharedmem.arrays.labeled import Axes, Labeled, labeled, remade
from sharedmem.arrays.shared_array import SharedArray

P = ParamSpec("P")
R = TypeVar("R")
Arguments = dict[str, Any]
# The place of an argument: its parameter, and the index or name in the tuple or dict that this is.
Place = tuple[str, int | str | None]

# The names of axes of xarray's arrays.
Dims = Any

_UNLABELED = frozenset({np.ndarray, np.memmap, SharedArray, bool, int, float, complex, type(None)})


@dataclass(frozen=True)
class Rule:
    """How results are labeled.

    Attributes
    ----------
    label : callable
        Gives a result its labels, from the result, the labeled array, and the call.
    has_axis : bool
        Whether the function works along the axes that are given, of which None stands for all.
    reduces : bool
        Whether results are of several elements. If not, and without axes, each is of one element.
    """

    label: Callable[[Any, Labeled, _Call], Any]
    has_axis: bool = True
    reduces: bool = False


def with_labels(rule: Rule, *operands: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of a function that gets arrays without labels, and no `dim`.

    Parameters
    ----------
    rule : Rule
        How results are labeled.
    *operands : str
        The parameters whose labels count: one, or several that are broadcast to each other; as
        ``*name`` that of a tuple of arrays, as ``**name`` that of a dict.

    Notes
    -----
    Arguments are passed on one by one, by a function that is made for each signature: as `*args`
    and `**options` they would take a part of the time of small arrays.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        checks = ["dim is None"] if "dim" in signature.parameters else []
        checks += map(_check_of, operands)
        bare = [p.replace(annotation=p.empty, default=p.empty) for p in parameters]
        name = getattr(function, "__name__", "")
        passed = ", ".join(_passed(p) for p in parameters if p.name != "dim")
        made_at = inspect.unwrap(function).__code__
        code = (
            "\n" * (made_at.co_firstlineno - 1) + f"def {name}{inspect.Signature(bare)}:\n"
            f" if {' and '.join(checks)}:\n"
            f"  return _function({passed})\n"
            " return _Call(_rule, _operands, _function, _signature, locals()).result()"
        )
        namespace: dict[str, Any] = {
            "__name__": function.__module__,
            "_UNLABELED": _UNLABELED,
            "_Call": _Call,
            "_rule": rule,
            "_operands": tuple(operand.lstrip("*") for operand in operands),
            "_function": function,
            "_signature": signature,
        }
        exec(compile(code, made_at.co_filename, "exec"), namespace)  # as tracebacks show it
        wrapper = namespace[name]
        defaults = [p for p in parameters if p.default is not p.empty]
        by_place = [p.default for p in defaults if p.kind is not p.KEYWORD_ONLY]
        wrapper.__defaults__ = (*by_place,)
        wrapper.__kwdefaults__ = {p.name: p.default for p in defaults if p.kind is p.KEYWORD_ONLY}
        wrapped: Callable[P, R] = functools.wraps(function)(wrapper)
        return wrapped

    return decorate


def _check_of(operand: str) -> str:
    """Return the test of whether an argument has no labels."""
    if operand.startswith("**"):
        return f"_UNLABELED.issuperset(map(type, {operand[2:]}.values()))"
    if operand.startswith("*"):
        return f"_UNLABELED.issuperset(map(type, {operand[1:]}))"
    return f"type({operand}) in _UNLABELED"


def _passed(parameter: inspect.Parameter) -> str:
    """Return how an argument is passed on."""
    name = parameter.name
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{name}"
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{name}"
    return f"{name}={name}" if parameter.kind is parameter.KEYWORD_ONLY else name


class _Call:
    """A call of a function with arguments that may have labels.

    Parameters
    ----------
    rule, operands
        See `with_labels`.
    function : callable
    signature : Signature
    arguments : dict
        All arguments, by the parameters of the function.

    Attributes
    ----------
    axes : tuple of int
        The axes that the function works along.
    others : list of Labeled
        The arrays with labels but the largest.
    """

    axes: Axes = ()
    others: tuple[Labeled, ...] = ()

    def __init__(
        self,
        rule: Rule,
        operands: tuple[str, ...],
        function: Callable[..., Any],
        signature: inspect.Signature,
        arguments: Arguments,
    ) -> None:
        self.rule, self.operands, self.arguments = rule, operands, arguments
        self.function, self.signature = function, signature

    def result(self) -> Any:
        """Return the result, with labels if the array has some."""
        found = {
            place: held
            for place, value in self._places()
            if type(value) not in _UNLABELED and (held := labeled(value)) is not None
        }
        mains = [place for place in found if place[0] in self.operands]
        # Of a gufunc, axes of the result are others than those of the arrays.
        if not mains or getattr(self.arguments.get("ufunc"), "signature", None):
            if self.arguments.get("dim") is not None:
                given = type(self.arguments[self.operands[0]]).__name__
                raise TypeError(f"dim names axes of xarray's arrays, got a {given}: give axis")
            return self._called({})
        main = max(mains, key=lambda place: len(found[place].shape))
        x = found.pop(main)
        self.others = (*found.values(),)
        self._find_axes(x)
        self._check(x, found)
        out = self.arguments.get("out")
        parts = x.parts(self.axes, self.others) if out is None else []
        if parts:
            return x.joined([self._of_columns(x, part) for part in parts], parts)
        changes: dict[Place, Any] = {place: held.array for place, held in found.items()}
        changes[main] = x.array
        if out is None and "keepdims" in self.arguments:
            changes["keepdims", None] = False  # axes come back with their labels
        value = self._called(changes)
        if out is not None:
            return value
        if isinstance(value, tuple | list):
            return remade(value, [self.rule.label(each, x, self) for each in value])
        return self.rule.label(value, x, self)

    def _find_axes(self, x: Labeled) -> None:
        """Find the axes that the function works along, by their names if these are given."""
        arguments, n_axes = self.arguments, len(x.shape)
        if not self.rule.has_axis:
            self.axes = (*range(n_axes),) if self.rule.reduces else ()
            return
        if (dim := arguments.get("dim")) is not None:
            if arguments["axis"] != self.signature.parameters["axis"].default:
                raise TypeError(f"got dim={dim!r} and axis={arguments['axis']!r}: give one")
            axis = x.axis_of(dim)
            is_one = isinstance(axis, tuple) and len(axis) == 1
            arguments |= {"dim": None, "axis": axis[0] if is_one else axis}
        if arguments["axis"] is None and n_axes > 1 and not self.rule.reduces:
            raise TypeError(
                f"{self.function.__name__} of {n_axes} axes is flattened, which would lose the "
                "labels: give axis= or dim="
            )
        axis = range(n_axes) if arguments["axis"] is None else arguments["axis"]
        self.axes = normalize_axis_tuple(axis, n_axes, "axis")

    def _check(self, x: Labeled, found: dict[Place, Labeled]) -> None:
        """Refuse arguments whose labels differ from those of the array."""
        for (parameter, key), held in found.items():
            name = key if isinstance(key, str) else parameter
            n_axes, n_own = len(x.shape), len(held.shape)
            if name == "weights" and n_own < n_axes:
                axes = self.axes
            elif {parameter, name} & {*self.operands, "where", "weights"} and n_own <= n_axes:
                axes = (*range(n_axes - n_own, n_axes),)
            else:
                raise TypeError(f"{name} has labels, which would be lost here: give its values")
            x.check(held, axes, name)

    def _of_columns(self, x: Labeled, part: list[int]) -> Any:
        """Return the result of some columns of a DataFrame."""
        changes: dict[Place, Any] = {}
        for place, value in self._places():
            is_broadcast = place[0] in (*self.operands, "where")
            if is_broadcast or (place[0] == "weights" and np.ndim(value) > 1):
                columns: Any = (..., part)
                if hasattr(value, "iloc"):
                    changes[place] = value.iloc[(slice(None),) * (value.ndim - 1) + (part,)]
                elif np.shape(value)[-1:] == x.shape[-1:]:
                    changes[place] = as_ndarray(value)[columns]
        call = self.rule, self.operands, self.function, self.signature
        return _Call(*call, self._changed(changes)).result()

    def _called(self, changes: dict[Place, Any]) -> Any:
        bound = inspect.BoundArguments(self.signature, OrderedDict(self._changed(changes)))
        return self.function(*bound.args, **bound.kwargs)

    def _places(self) -> Iterator[tuple[Place, Any]]:
        """Yield each argument, also those that a parameter gathers."""
        for name, value in self.arguments.items():
            if name in self.operands and isinstance(value, tuple):
                yield from (((name, at), each) for at, each in enumerate(value))
            elif isinstance(value, dict):
                yield from (((name, key), each) for key, each in value.items())
            else:
                yield (name, None), value

    def _changed(self, changes: dict[Place, Any]) -> Arguments:
        """Return the arguments with other values in some places."""
        arguments = dict(self.arguments)
        for (name, key), value in changes.items():
            if key is None:
                arguments[name] = value
            elif isinstance(key, int):
                gathered = arguments[name]
                arguments[name] = (*gathered[:key], value, *gathered[key + 1 :])
            else:
                arguments[name] = {**arguments[name], key: value}
        return arguments


def _without_axes(value: Any, x: Labeled, call: _Call) -> Any:
    return x.reduced(value, call.axes, bool(call.arguments.get("keepdims")))


def _like_array(value: Any, x: Labeled, call: _Call) -> Any:
    if np.shape(value) != x.shape:
        raise ValueError(
            f"the result has shape {np.shape(value)}, but the labels are those of shape {x.shape}: "
            "give all arrays labels of the axes that are broadcast, or give arrays without labels"
        )
    if isinstance(value, SharedArray):
        value = np.asarray(value)  # pickles of tables have their elements, not a reference
    return x.renamed(x.reduced(value, (), keepdims=False), call.others)


def _of_quantiles(value: Any, x: Labeled, call: _Call) -> Any:
    q = np.asarray(call.arguments["q"])
    if q.ndim > 1:
        raise TypeError(f"q has {q.ndim} axes, of which there are no labels: give one axis")
    name = "percentile" if call.function.__name__.endswith("percentile") else "quantile"
    return x.quantiles(value, call.axes, bool(call.arguments["keepdims"]), name, q)


def _of_later(value: Any, x: Labeled, call: _Call) -> Any:
    """Label differences as the later elements."""
    for name in ("prepend", "append"):
        if call.arguments[name] is not call.signature.parameters[name].default:
            raise TypeError(f"{name} has no labels: join it to the array first")
    (axis,) = call.axes
    return _like_array(value, x.without(axis, x.shape[axis] - value.shape[axis]), call)


def _of_expression(value: Any, x: Labeled, call: _Call) -> Any:
    """Label a result that has the axes of the arrays, or none."""
    if np.shape(value) == () != x.shape:
        return x.renamed(x.reduced(value, call.axes, keepdims=False), call.others)
    return _like_array(value, x, call)


def check_aligned(a: Any, **others: Any) -> None:
    """Refuse arrays that are combined with `a`, element by element, by other labels.

    Parameters
    ----------
    a : array_like
    **others : array_like or None
        Arrays by the names of their parameters. Those without labels, or of another shape, are not
        compared.

    Raises
    ------
    TypeError, ValueError
        If the labels differ.
    """
    if type(a) in _UNLABELED:
        return
    for name, other in others.items():
        held = None if type(other) in _UNLABELED else labeled(other, with_elements=False)
        x = None if held is None else labeled(a, with_elements=False)
        if x is not None and held is not None and x.shape == held.shape:
            x.check(held, (*range(len(x.shape)),), name)


REDUCTION = Rule(_without_axes, reduces=True)
QUANTILES = Rule(_of_quantiles, reduces=True)
SCAN = Rule(_like_array)
DIFFERENCES = Rule(_of_later)
ELEMENTWISE = Rule(_like_array, has_axis=False)
EXPRESSIONS = Rule(_of_expression, has_axis=False, reduces=True)
