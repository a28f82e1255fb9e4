"""Order statistics of long lines, and of arrays in files, without sorting them."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.engine.long_lines import as_plain, natural_runs, pieces_of
from sharedmem.engine.operands import is_store
from sharedmem.engine.regions import read
from sharedmem.engine.runners import Run
from sharedmem.kernels import sorting
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]
# ``each(func, *args)`` returns the list of ``func(elements, *args)`` for the elements of each part.
Each = Callable[..., list[Any]]

# A sample that was not like the file is taken again.
_MAX_SAMPLES = 10


class SelectingLine(np.ndarray[Any, np.dtype[Any]]):
    """A line whose elements are undefined but for those that `partition` has been asked for.

    NumPy's functions call it, and read no others.

    Attributes
    ----------
    source : array
        Where the elements are: a line in memory, or an array in a file.
    select : callable
        Returns the elements at some ranks.
    """

    source: Any
    select: Callable[[list[int]], Array]

    @classmethod
    def of(cls, run: Run, source: Any) -> Self:
        """Make a line for an array; `run` is that of :func:`order_statistics`."""
        size, dtype = math.prod(source.shape), np.dtype(source.dtype).newbyteorder("=")
        # Of its pages only those exist that hold a rank that was asked for. None are reserved for a
        # file, which may be larger than memory.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
        is_stored = is_store(source)
        room = mmap.mmap(-1, size * dtype.itemsize, flags=flags) if is_stored else None
        line = cls(size, dtype, room)
        find = order_statistics_of_file if is_stored else order_statistics
        line.source, line.select = source, partial(find, run, source)
        return line

    def __array_finalize__(self, obj: Any) -> None:
        if hasattr(obj, "select"):
            self.select = obj.select

    def partition(
        self, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None
    ) -> None:
        """Put the elements `kth` into their places in the sorted line."""
        ranks = np.unique(np.asarray(kth) % len(self))
        self.view(np.ndarray)[ranks] = self.select(ranks.tolist())


def order_statistics(run: Run, a: Array, ranks: Sequence[int]) -> Array:
    """Return the elements that would stand at `ranks` if a line were sorted.

    A sample gives two limits that almost surely enclose the element. One pass counts the elements
    below them, and copies those in between.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray, shape (n,), n > 0
        Of a type that `is_comparable`.
    ranks : sequence of int
        From 0 to n - 1.

    Returns
    -------
    ndarray, shape (len(ranks),)
        NaNs stand at the end.

    References
    ----------
    R. W. Floyd, R. L. Rivest, Expected time bounds for selection, Communications of the ACM 18(3),
    1975, doi:10.1145/360680.360691
    """
    if len(ranks) > tuning.quantile_ranks:
        return np.partition(a, ranks)[ranks]
    a = as_plain(run, a)
    runs = natural_runs(run, a, limit=1, ties=True)
    if runs is not None:
        return a[::-1][ranks] if runs.falls[0] else a[ranks]

    def each(func: Callable[..., Any], *args: Any) -> list[Any]:
        return run(lambda piece: func(a[piece], *args), pieces_of(len(a), a.itemsize))

    sample = np.sort(a[:: len(a) // tuning.sample_size | 1])
    found = _select(each, len(a), ranks, sample)
    for rank in {*ranks} - found.keys():  # the sample was not like the line
        found[rank] = np.partition(a, rank)[rank]
    return np.array([found[rank] for rank in ranks], a.dtype)


def order_statistics_of_file(run: Run, a: Any, ranks: Sequence[int]) -> Array:
    """Return the elements that would stand at `ranks` if all of a file were sorted.

    The passes are those of :func:`order_statistics`, over the file. The sample is larger, so that
    few elements are in memory at a time.
    """
    grid = chunks(a, range(a.ndim))
    size = math.prod(a.shape)
    found: dict[int, Any] = {}

    def each(func: Callable[..., Any], *args: Any) -> list[Any]:
        return run(_OfChunk(a, func, args), grid)

    for attempt in range(_MAX_SAMPLES):
        samples = run(_Sample(a, tuning.stored_sample_size / size, attempt), grid)
        missing = [rank for rank in ranks if rank not in found]
        found |= _select(each, size, missing, np.sort(np.concatenate(samples)))
        if found.keys() >= {*ranks}:
            return np.array([found[rank] for rank in ranks], a.dtype)
    raise RuntimeError(
        f"none of {_MAX_SAMPLES} random samples represents the array, of shape {a.shape}"
    )


def _select(each: Each, size: int, ranks: Sequence[int], sample: Array) -> dict[int, Any]:
    """Return the elements at `ranks`, but for those that are not where a sample suggests."""
    found: dict[int, Any] = {}
    for rank in sorted({*ranks}):
        if rank in (0, size - 1):
            extremum = np.maximum if rank else np.fmin
            found[rank] = extremum.reduce(np.array(each(extremum.reduce), sample.dtype))
        elif rank not in found:  # its neighbor comes from the same pass
            group = [at for at in (rank, rank + 1) if at in ranks and at < size - 1]
            found |= _select_between(each, size, group, *_limits(sample, rank / size))
    return found


def _limits(sample: Array, quantile: float) -> tuple[Any, Any]:
    """Return limits that an element is between, with a margin of five standard deviations."""
    margin = 2.5 * math.sqrt(len(sample))
    first = math.floor(quantile * len(sample) - margin)
    last = math.ceil(quantile * len(sample) + margin)
    extent = np.iinfo(sample.dtype) if sample.dtype.kind in "iu" else None
    lowest, highest = (extent.min, extent.max) if extent else (-np.inf, np.inf)
    numbers = sample[: len(sample) - np.count_nonzero(np.isnan(sample))]
    low = numbers[first] if 0 <= first < len(numbers) else sample.dtype.type(lowest)
    high = numbers[last] if last < len(numbers) else sample.dtype.type(highest)
    return low, high


def _select_between(
    each: Each, size: int, ranks: Sequence[int], low: Any, high: Any
) -> dict[int, Any]:
    """Return those of the elements at `ranks` that are between the limits, or at them."""
    counts, insides = zip(*each(_between, low, high), strict=True)
    n_less, n_low, n_inside, n_high, n_nan = map(sum, zip(*counts, strict=True))
    inside = np.concatenate(insides)
    first = n_less + n_low
    here = [rank - first for rank in ranks if 0 <= rank - first < n_inside]
    inside.partition(np.array(here, np.intp))
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


def _between(elements: Array, low: Any, high: Any) -> tuple[tuple[int, ...], Array]:
    inside = np.empty(len(elements), elements.dtype)
    counts = sorting.select_between(elements, low, high, inside)
    return counts, inside[: counts[2]].copy()


@dataclass(frozen=True)
class OfStored:
    """A task on the chunks of an array in a file."""

    store: Any

    def reads(self, chunk: Chunk) -> list[tuple[Any, Chunk]]:
        """Return the arrays and regions that are read for a chunk."""
        return [(self.store, chunk)]

    def elements(self, chunk: Chunk) -> Array:
        """Read a chunk, as kernels take it."""
        values = read(self.store, chunk)
        native = values.dtype.newbyteorder("=")
        return np.ascontiguousarray(values, native).reshape(-1)


@dataclass(frozen=True)
class _OfChunk(OfStored):
    func: Callable[..., Any]
    args: tuple[Any, ...]

    def __call__(self, chunk: Chunk) -> Any:
        return self.func(self.elements(chunk), *self.args)


@dataclass(frozen=True)
class _Sample(OfStored):
    share: float
    attempt: int

    def __call__(self, chunk: Chunk) -> Array:
        elements = self.elements(chunk)
        n = min(len(elements), math.ceil(len(elements) * self.share))
        # Not evenly spaced ones: the file may be periodic.
        rng = np.random.default_rng([self.attempt, chunk.index])
        return elements[rng.integers(len(elements), size=n)]
