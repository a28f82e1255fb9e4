"""Medians and quantiles of arrays in files, which are never read as a whole."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.arrays.conversion import read_only
from sharedmem.engine.cuts import cut
from sharedmem.engine.operands import in_memory
from sharedmem.engine.order_statistics import is_selectable, limits
from sharedmem.engine.reduce import Axis
from sharedmem.engine.regions import read
from sharedmem.engine.runners import Run
from sharedmem.kernels import sorting
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]

# A sample that was not like the file is taken again.
_MAX_SAMPLES = 10


def quantile_of_file(
    run: Run, func: Callable[..., Any], a: Any, axis: Axis, keepdims: bool, options: dict[str, Any]
) -> Any:
    """Apply one of NumPy's functions, median or quantile, along axes.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``.
    func, options
        The function, and what it gets besides.
    a : array in a file
    axis : int or tuple of int, optional
        By default all: the array is then read a few times, and few elements are in memory at
        a time.
        With others, each worker reads whole lines.
    keepdims : bool
        Whether to keep the reduced axes, with length one.
    """
    axes = normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim, "axis")
    kept = [at for at in range(a.ndim) if at not in axes]
    if 0 in a.shape or a.ndim == 0:
        return func(in_memory(a), axis=axis, keepdims=keepdims, **options)
    if kept:
        grid = cut(a, kept, (), [a])
        found = run(_OfLines(a, func, axes, options), grid)
        result = np.empty((*found[0].shape[: -a.ndim], *_reduced(a.shape, axes)), found[0].dtype)
        for chunk, part in zip(grid, found, strict=True):
            whole = (*chunk, *[slice(None)] * (a.ndim - len(chunk)))
            result[(..., *whole)] = part
        n_before = result.ndim - a.ndim
        dropped = () if keepdims else tuple(n_before + at for at in axes)
        return result.squeeze(dropped)
    if not is_selectable(a):
        in_memory(a)  # refuses it
    line = _unread(math.prod(a.shape), np.dtype(a.dtype).newbyteorder("="))
    line.select = lambda ranks: order_statistics_of_file(run, a, ranks)
    result = np.asarray(func(line, overwrite_input=True, **options))
    return result.reshape(result.shape + (1,) * a.ndim) if keepdims else result[()]


def _reduced(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    return [1 if at in axes else n for at, n in enumerate(shape)]


@dataclass(frozen=True)
class _OfLines:
    """A task that applies a function to whole lines."""

    store: Any
    func: Callable[..., Any]
    axes: tuple[int, ...]
    options: dict[str, Any]

    def reads(self, chunk: Chunk) -> list[tuple[Any, Chunk]]:
        """Return the arrays and regions that are read for a chunk."""
        return [(self.store, chunk)]

    def __call__(self, chunk: Chunk) -> Array:
        values = np.array(read(self.store, chunk))
        found = self.func(
            values, axis=self.axes, overwrite_input=True, keepdims=True, **self.options
        )
        return np.asarray(found)


class SelectingLine(np.ndarray[Any, np.dtype[Any]]):
    """A line whose `partition`, which NumPy's functions call, writes only the elements asked for.

    NumPy reads no others. `select` returns the elements at some ranks.
    """

    select: Callable[[list[int]], Array]

    def __array_finalize__(self, obj: Any) -> None:
        if hasattr(obj, "select"):
            self.select = obj.select

    def partition(
        self, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None
    ) -> None:
        """Put the elements `kth` into their places in the sorted line."""
        ranks = np.unique(np.asarray(kth) % len(self))
        self.view(np.ndarray)[ranks] = self.select(ranks.tolist())


def _unread(n: int, dtype: np.dtype[Any]) -> SelectingLine:
    # Of its pages only those exist that hold a rank that was asked for; so none are reserved.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    room = mmap.mmap(-1, n * dtype.itemsize, flags=flags)
    return np.frombuffer(room, dtype).view(SelectingLine)


def order_statistics_of_file(run: Run, a: Any, ranks: Sequence[int]) -> Array:
    """Return the elements that would stand at `ranks` if all were sorted, NaNs at the end.

    A sample gives two limits that almost surely enclose an element. A pass over the file counts the
    elements below them, and collects those in between: see `order_statistics`.
    """
    grid = chunks(a, range(a.ndim))
    size = math.prod(a.shape)
    found: dict[int, Any] = {}
    for attempt in range(_MAX_SAMPLES):
        sample = np.sort(
            np.concatenate(run(_Sample(a, tuning.stored_sample_size / size, attempt), grid))
        )
        for rank in sorted({*ranks}):
            if rank in found:
                continue
            group = [at for at in (rank, rank + 1) if at in ranks]
            low, high = limits(sample, rank / size)
            if rank in (0, size - 1):  # an extremum is not among a share of all elements
                low, high = _ends(run, a, grid, rank)
            found |= _select(run, a, grid, size, group, low, high)
        if found.keys() >= {*ranks}:
            return np.array([found[rank] for rank in ranks], a.dtype)
    raise RuntimeError(
        f"none of {_MAX_SAMPLES} random samples represents the array, of shape {a.shape}"
    )


def _ends(run: Run, a: Any, grid: Sequence[Chunk], rank: int) -> tuple[Any, Any]:
    extremum = np.fmin if rank == 0 else np.fmax
    value = extremum.reduce(np.array(run(_Extremum(a, extremum), grid), a.dtype))
    return value, value


def _select(
    run: Run, a: Any, grid: Sequence[Chunk], size: int, ranks: Sequence[int], low: Any, high: Any
) -> dict[int, Any]:
    """Return those of the elements at `ranks` that are between the limits, or at them."""
    counts, insides = zip(*run(_Between(a, low, high), grid), strict=True)
    n_less, n_low, n_inside, n_high, n_nan = map(sum, zip(*counts, strict=True))
    inside = np.sort(np.concatenate(insides))
    first = n_less + n_low
    found = {}
    for rank in ranks:
        if rank >= size - n_nan:
            found[rank] = np.nan
        elif n_less <= rank < first:
            found[rank] = low
        elif 0 <= rank - first < n_inside:
            found[rank] = inside[rank - first]
        elif 0 <= rank - first - n_inside < n_high:
            found[rank] = high
    return found


@dataclass(frozen=True)
class _OfChunk:
    """A task on the elements of a chunk."""

    store: Any

    def reads(self, chunk: Chunk) -> list[tuple[Any, Chunk]]:
        """Return the arrays and regions that are read for a chunk."""
        return [(self.store, chunk)]

    def _elements(self, chunk: Chunk) -> Array:
        values = read(self.store, chunk)
        native = np.dtype(values.dtype).newbyteorder("=")
        return read_only(np.ascontiguousarray(values, native).reshape(-1))


@dataclass(frozen=True)
class _Sample(_OfChunk):
    share: float
    attempt: int

    def __call__(self, chunk: Chunk) -> Array:
        elements = self._elements(chunk)
        n = min(len(elements), math.ceil(len(elements) * self.share))
        # Not evenly spaced ones: the file may be periodic.
        rng = np.random.default_rng([self.attempt, chunk.index])
        return elements[rng.integers(len(elements), size=n)]


@dataclass(frozen=True)
class _Extremum(_OfChunk):
    ufunc: Any

    def __call__(self, chunk: Chunk) -> Any:
        return self.ufunc.reduce(self._elements(chunk))


@dataclass(frozen=True)
class _Between(_OfChunk):
    low: Any
    high: Any

    def __call__(self, chunk: Chunk) -> tuple[tuple[int, ...], Array]:
        elements = self._elements(chunk)
        inside = np.empty(len(elements), elements.dtype)
        counts = sorting.select_between(elements, self.low, self.high, inside)
        return counts, inside[: counts[2]].copy()
