"""Arrays in files of zarr and h5py: reduced chunk by chunk, never read as a whole."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from sharedmem.arrays.chunks import Chunk, Grid, chunks, units_of
from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.engine.cuts import cut
from sharedmem.engine.operands import is_store
from sharedmem.engine.reduce import Array, Axis, Request, State, by_line, map_parts, reduce
from sharedmem.engine.regions import Derived, Reader, Spread, read
from sharedmem.engine.runners import Stream, run_serially
from sharedmem.kernels.reduction import LineReduction, Reduction
from sharedmem.machine.tuning import tuning

# Where chunks begin and end along the axes that are kept.
Place = tuple[tuple[int, int], ...]


def reduce_store(
    stream: Stream, reduction: Reduction, store: Any, axis: Axis = None, keepdims: bool = False
) -> Any:
    """Reduce an array in a file over some of its axes; see :func:`reduce_stores`."""
    return reduce_stores(stream, [Request(reduction, store, axis, keepdims)])[0]


def reduce_stores(stream: Stream, requests: Sequence[Request]) -> list[Any]:
    """Reduce arrays of one shape, each in a file or computed from some, over axes of its own.

    A task reads each region once, for all of them. What is returned and raised is otherwise as by
    :func:`engine.reduce.reduce`. Which elements are in a chunk depends on the shape, the dtypes and
    the chunks of the files; states of neighbors are combined, in the order of the chunks. Files
    without gaps that are reduced as a whole are lines, in chunks whose states are those that
    threads compute of arrays in memory: so the results have the same bits.
    """
    shape = requests[0].a.shape
    if not shape or 0 in shape:
        nothing = (slice(None),) * len(shape)
        return [
            reduce(run_serially, reduction, read(a, nothing), axis, keepdims)
            for reduction, a, axis, keepdims in requests
        ]
    parts = [Part.of(*request) for request in requests]
    lines = [part.line for part in parts]
    if None not in lines and lines != [part.store for part in parts]:
        whole = [Request(part.of_lines, line) for part, line in zip(parts, lines, strict=True)]
        results = reduce_stores(stream, whole)
        return [part.restored(result) for part, result in zip(parts, results, strict=True)]
    trees: list[dict[Place, _Tree]] = [{} for _ in parts]
    grid = _grid(parts)
    for chunk, states in zip(grid, stream(ChunkTask(parts), grid), strict=True):
        for part, found, state in zip(parts, trees, states, strict=True):
            place = tuple((chunk[at].start, chunk[at].stop) for at in part.kept)
            found.setdefault(place, _Tree(part.of_lines.combine)).add(state)
    return [
        part.result({place: tree.root() for place, tree in found.items()})
        for part, found in zip(parts, trees, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Part:
    """A request, checked: how lines of an array are reduced, and over which axes."""

    reduction: Reduction
    of_lines: LineReduction
    store: Any
    axes: tuple[int, ...]
    keepdims: bool

    @classmethod
    def of(
        cls, reduction: Reduction, store: Any, axis: Axis = None, keepdims: bool = False
    ) -> Part:
        """Check a request, and compile the kernel of its reduction."""
        axes = normalize_axis_tuple(range(store.ndim) if axis is None else axis, store.ndim, "axis")
        of_lines = (
            reduction if isinstance(reduction, LineReduction) else by_line(reduction, store.dtype)
        )
        return cls(reduction, of_lines, store, axes, keepdims)

    @property
    def kept(self) -> list[int]:
        """The axes that are not reduced."""
        return [at for at in range(self.store.ndim) if at not in self.axes]

    @property
    def line(self) -> ArrayFile | None:
        """All of the file as a line, if it has no gaps and the reduction takes it so."""
        if not (self.of_lines.whole and isinstance(self.store, ArrayFile)) or self.kept:
            return None
        return self.store.line(tuning.chunk_bytes // self.store.dtype.itemsize)

    def restored(self, result: Any) -> Any:
        """Return the result of a line as that of the array."""
        shape = (1,) * self.store.ndim if self.keepdims else ()
        return map_parts(lambda part: np.reshape(part, shape)[()], result)

    def state(self, values: Array) -> State:
        """Return the state of a chunk, of arrays with all axes."""
        to_state = dataclasses.replace(self.of_lines, finalize=tuple, direct=None)
        return reduce(run_serially, to_state, values, self.axes, keepdims=True)  # type: ignore[no-any-return]

    def result(self, states: dict[Place, State]) -> Any:
        """Return the result, given the states of all lines by their places."""
        kept, ndim = self.kept, self.store.ndim
        if not (self.of_lines is self.reduction or kept or self.keepdims):
            return self.reduction.finalize(states[()][0].item())
        results = {
            place: _finalize(self.of_lines, state, place, ndim) for place, state in states.items()
        }
        kept_shape = [self.store.shape[at] for at in kept]

        def join(*parts: Array) -> Any:
            joined = np.empty([*kept_shape, *parts[0].shape[len(kept) :]], parts[0].dtype)
            for place, part in zip(results, parts, strict=True):
                joined[tuple(slice(*bounds) for bounds in place)] = part
            return np.expand_dims(joined, self.axes)[()] if self.keepdims else joined[()]

        return map_parts(join, *results.values())


@dataclasses.dataclass(frozen=True)
class ChunkTask:
    """A task that reads a chunk of each array, and reduces it to a state."""

    parts: Sequence[Part]

    def reads(self, chunk: Chunk) -> list[tuple[Any, Chunk]]:
        """Return the arrays and regions that are read for a chunk."""
        return [(part.store, chunk) for part in self.parts]

    def __call__(self, chunk: Chunk) -> list[State]:
        """Return the states of a chunk."""
        reader = Reader()
        return [part.state(reader(part.store, chunk)) for part in self.parts]


class _Tree:
    """States of neighbors in order, combined in pairs; at most log2 of their number are kept."""

    def __init__(self, combine: Callable[[State, State], State]) -> None:
        self._combine = combine
        self._levels: list[State | None] = []

    def add(self, state: State) -> None:
        for level, earlier in enumerate(self._levels):
            if earlier is None:
                self._levels[level] = state
                return
            state = self._combine(earlier, state)
            self._levels[level] = None
        self._levels.append(state)

    def root(self) -> State:
        states = [state for state in self._levels if state is not None]
        return functools.reduce(lambda later, earlier: self._combine(earlier, later), states)


def _grid(parts: Sequence[Part]) -> Grid:
    """Cut the arrays together, between the chunks of their files as far as that is possible."""
    stores = [part.store for part in parts]
    guide = max(stores, key=lambda store: np.dtype(store.dtype).itemsize)
    orders = {tuple(_cutting_order(part)) for part in parts}
    order = orders.pop() if len(orders) == 1 else range(guide.ndim)
    files = [guide, *filter(is_store, _files(stores))]
    is_common = len({units_of(store, store.shape) for store in files}) == 1
    return chunks(guide, order) if is_common else cut(guide, order, (), files)


def _files(stores: Sequence[Any]) -> Iterator[Any]:
    """Yield arrays, and those of the same shape that some are computed from."""
    for store in stores:
        yield store
        if isinstance(store, Derived) and not isinstance(store, Spread):
            yield from _files([source for source in store.sources if source.shape == store.shape])


def _cutting_order(part: Part) -> Sequence[int]:
    """Return the axes in the order in which they are cut.

    In memory, lines stay whole where many of them fit into a chunk: nothing is left to combine.
    """
    shape, axes = part.store.shape, range(part.store.ndim)
    side_by_side = min(tuning.lines_per_chunk, math.prod(shape[at] for at in part.kept))
    line_bytes = math.prod(shape[at] for at in part.axes) * part.store.dtype.itemsize
    in_memory = max(units_of(part.store, shape)) == 1
    fits = side_by_side * line_bytes <= tuning.chunk_bytes
    return [*part.kept, *part.axes] if in_memory and fits else axes


def _finalize(reduction: LineReduction, state: State, place: Place, ndim: int) -> Any:
    lines = tuple(part.reshape([-1, 1, *part.shape[ndim:]]) for part in state)
    kept = [stop - start for start, stop in place]
    return map_parts(lambda part: part.reshape([*kept, *part.shape[2:]]), reduction.finalize(lines))
