"""Kernels compiled ahead by `sharedmem warm`: calls of the functions that use them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import sharedmem
from sharedmem import random
from sharedmem.functions.group_rules import NAMES
from sharedmem.kernels.quiet import quiet

Array = NDArray[Any]

# Enough for threads to share the work, whose kernels are others than those of small arrays.
_N_BYTES = 4 << 20
# The last one is a line that is long, and one that is short.
_SHAPES = ((-1,), (-1, 512), (-1, 20))


def _is_low(a: Array) -> Array:
    return np.arange(len(a)) % 100 < 50


def _small(a: Array) -> Array:
    return (np.arange(len(a)) % 100).astype(a.dtype)


def _orders(a: Array) -> list[Array]:
    """Return a line in the orders for which sorts have kernels of their own; fields as they are."""
    if a.ndim > 1:
        return [a]
    rising, twins = np.sort(a), a.copy()
    halves = [np.append(rising[::2], rising[::-2]), np.append(rising[::2], rising[1::2])]
    nearly = rising.copy()
    nearly[::1000] = a[::1000]
    if a.dtype.kind == "f":
        twins[::2] = np.nan
        twins[::4] *= -1
    return [a, twins, rising, rising[::-1], *halves, nearly]


def _by_groups(a: Array) -> None:
    """Reduce groups, few and many, of labels that are close together, far apart, or words."""
    few, many = np.arange(len(a)) % 100, np.arange(len(a))
    for labels in few, many:
        sharedmem.group_reduce(a, labels, func=NAMES, finalize_kwargs={"q": 0.5})
    for others in few << 40, few.astype(str):
        sharedmem.group_reduce(a, others, func="count")
    sharedmem.group_reduce(a, a, func="count", expected_groups=np.unique(a[:10]), isbin=True)


# Functions of a line that take more than one argument; all others are called with an array, and
# those that have an axis with arrays of two.
_CALLS: dict[str, Callable[..., Any]] = {
    "accumulate": lambda a, **axis: sharedmem.accumulate(np.add, a, **axis),
    "all": lambda a, **axis: sharedmem.all(np.ones_like(a), **axis),
    "any": lambda a, **axis: sharedmem.any(np.zeros_like(a), **axis),
    "argsort": lambda a, **axis: [sharedmem.argsort(line, **axis) for line in _orders(a)],
    "average": lambda a, **axis: sharedmem.average(a, weights=np.ones(a.shape), **axis),
    "bincount": lambda a: sharedmem.bincount(_small(a)),
    "clip": lambda a: sharedmem.clip(a, a[0], a[1]),
    "compress": lambda a: sharedmem.compress(_is_low(a), a),
    "digitize": lambda a: sharedmem.digitize(a, np.sort(a[:10])),
    "dot": lambda a: sharedmem.dot(a, a),
    "group_reduce": _by_groups,
    "histogram2d": lambda a: sharedmem.histogram2d(a, a),
    "histogramdd": lambda a: sharedmem.histogramdd([a, a]),
    "nanpercentile": lambda a, **axis: sharedmem.nanpercentile(a, 30, **axis),
    "nanquantile": lambda a, **axis: sharedmem.nanquantile(a, 0.3, **axis),
    "nonzero": lambda a: sharedmem.nonzero(a > a.mean()),
    "partition": lambda a, **axis: sharedmem.partition(a, 3, **axis),
    "percentile": lambda a, **axis: sharedmem.percentile(a, 30, **axis),
    "quantile": lambda a, **axis: sharedmem.quantile(a, 0.3, **axis),
    "searchsorted": lambda a: sharedmem.searchsorted(np.sort(a[:1000]), a),
    "sort": lambda a, **axis: [sharedmem.sort(line, **axis) for line in _orders(a)],
    "take": lambda a: sharedmem.take(a, np.arange(len(a))[::-1]),
    "topk": lambda a, **axis: sharedmem.topk(a, 10, **axis),
    "vdot": lambda a: sharedmem.vdot(a, a),
    "where": lambda a: sharedmem.where(_is_low(a), a, a[::-1]),
    "random.exponential": lambda a: random.exponential(size=a.size, dtype=a.dtype),
    "random.integers": lambda a: random.integers(100, size=a.size, dtype=a.dtype),
    "random.normal": lambda a: random.normal(size=a.size, dtype=a.dtype),
    "random.permutation": lambda a: random.permutation(a),
    "random.poisson": lambda a: [random.poisson(mean, a.size) for mean in (3, 1000)],
    "random.uniform": lambda a: random.uniform(size=a.size, dtype=a.dtype),
}
# These run a function of the user, or compile in each process.
OTHERS = {"apply_ufunc", "evaluate", "map_chunks", "map_overlap", "reduce"}


class Task(NamedTuple):
    """A function, and the dtype of the array that it is called with."""

    name: str
    dtype: str


def functions() -> list[str]:
    """Return the public names of the functions that have kernels."""
    found = {
        name
        for name in dir(sharedmem)
        if getattr(getattr(sharedmem, name), "__module__", "").startswith("sharedmem.functions")
    }
    drawn = {
        f"random.{name}"
        for name, function in inspect.getmembers(random, inspect.isfunction)
        if function.__module__ == random.__name__ and not name.startswith("_")
    }
    return sorted(found - OTHERS | drawn)


def values(dtype: str) -> Array:
    """Return numbers that are in no order, some of them equal."""
    kind = np.dtype(dtype)
    numbers = np.random.default_rng(0).integers(0, 10**6, _N_BYTES // kind.itemsize)
    return numbers.astype(kind)


def call(task: Task, a: Array, **axis: int) -> None:
    """Call a function with an array of numbers, and an axis where it is given."""
    run = _CALLS.get(task.name) or getattr(sharedmem, task.name)
    run(a, **axis)


@quiet
def warm(task: Task) -> None:
    """Compile the kernels of a task, or load them; there are none for a dtype that is refused."""
    function = random if task.name.startswith("random.") else sharedmem
    parameters = inspect.signature(getattr(function, task.name.split(".")[-1])).parameters
    a = values(task.dtype)
    with sharedmem.MapReduceByThread(np=2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for shape in _SHAPES if "axis" in parameters else _SHAPES[:1]:
            field = a[: a.size // 10240 * 10240].reshape(shape)
            for axis in [{"axis": axis} for axis in range(field.ndim)] if field.ndim > 1 else [{}]:
                try:
                    call(task, field, **axis)
                except (TypeError, ValueError):
                    return
