"""Arrays in files of zarr and h5py: reduced chunk by chunk, never read as a whole."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from sharedmem.arrays.chunks import Chunk, Grid, chunks, units_of
from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.engine.cuts import cut
from sharedmem.engine.operands import is_store
from sharedmem.engine.reduce import Request, State, map_parts, reduce
from sharedmem.engine.reduce_together import Checked, Place
from sharedmem.engine.regions import Derived, Reader, Spread, read
from sharedmem.engine.runners import Stream, run_serially
from sharedmem.machine.tuning import tuning


def reduce_stores(stream: Stream, requests: Sequence[Request]) -> list[Any]:
    """Reduce arrays of one shape, each in a file or computed from some, over axes of its own.

    A task reads each region once, for all of them. What is returned and raised is otherwise as by
    :func:`engine.reduce.reduce`. Which elements are in a chunk depends on the shape, the dtypes and
    the chunks of the files; states of neighbors are combined, in the order of the chunks. Files
    without gaps that are reduced as a whole are lines, in chunks whose states are those that
    threads compute of arrays in memory: so the results have the same bits.
    """
    parts = [Checked.of(request) for request in requests]
    if not parts[0].shape or 0 in parts[0].shape:
        nothing = (slice(None),) * len(parts[0].shape)
        found = [tuple(read(store, nothing) for store in part.arrays) for part in parts]
        return [
            reduce(run_serially, request.reduction, values, request.axis, request.keepdims)
            for request, values in zip(requests, found, strict=True)
        ]
    lines = [_line(part) for part in parts]
    if None not in lines and lines != [part.arrays[0] for part in parts]:
        whole = [Request(part.of_lines, line) for part, line in zip(parts, lines, strict=True)]
        results = reduce_stores(stream, whole)
        return [_restored(part, result) for part, result in zip(parts, results, strict=True)]
    trees: list[dict[Place, _Tree]] = [{} for _ in parts]
    grid = _grid(parts)
    for chunk, states in zip(grid, stream(ChunkTask(parts), grid), strict=True):
        for part, tree, state in zip(parts, trees, states, strict=True):
            place = tuple((chunk[at].start, chunk[at].stop) for at in part.kept)
            tree.setdefault(place, _Tree(part.of_lines.combine)).add(state)
    return [
        part.result({place: one.root() for place, one in tree.items()})
        for part, tree in zip(parts, trees, strict=True)
    ]


def _line(part: Checked) -> ArrayFile | None:
    """Return all of a file as a line, if it has no gaps and the reduction takes it so."""
    store = part.arrays[0]
    takes_lines = part.of_lines.whole and len(part.arrays) == 1 and not part.kept
    if not (takes_lines and isinstance(store, ArrayFile)):
        return None
    return store.line(tuning.chunk_bytes // store.dtype.itemsize)


def _restored(part: Checked, result: Any) -> Any:
    """Return the result of a line as that of the array."""
    shape = (1,) * len(part.shape) if part.keepdims else ()
    return map_parts(lambda one: np.reshape(one, shape)[()], result)


@dataclasses.dataclass(frozen=True)
class ChunkTask:
    """A task that reads a chunk of each array, and reduces it to the states of all requests."""

    parts: Sequence[Checked]

    def reads(self, chunk: Chunk) -> list[tuple[Any, Chunk]]:
        """Return the arrays and regions that are read for a chunk."""
        return [(store, chunk) for part in self.parts for store in part.arrays]

    def __call__(self, chunk: Chunk) -> list[State]:
        """Return the states of a chunk."""
        read_once = Reader()
        return [
            part.state(tuple(read_once(store, chunk) for store in part.arrays))
            for part in self.parts
        ]


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


def _grid(parts: Sequence[Checked]) -> Grid:
    """Cut the arrays together, between the chunks of their files as far as that is possible."""
    stores = [store for part in parts for store in part.arrays]
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


def _cutting_order(part: Checked) -> Sequence[int]:
    """Return the axes in the order in which they are cut.

    In memory, lines stay whole where many of them fit into a chunk: nothing is left to combine.
    """
    shape = part.shape
    side_by_side = min(tuning.lines_per_chunk, math.prod(part.kept_shape))
    itemsize = max(store.dtype.itemsize for store in part.arrays)
    line_bytes = math.prod(shape[at] for at in part.axes) * itemsize
    in_memory = all(max(units_of(store, shape)) == 1 for store in part.arrays)
    fits = side_by_side * line_bytes <= tuning.chunk_bytes
    return [*part.kept, *part.axes] if in_memory and fits else range(len(shape))
