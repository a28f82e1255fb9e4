"""Arrays in files of zarr and h5py: reduced chunk by chunk, never read as a whole."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from sharedmem.arrays.chunks import Chunk, chunks, units_of
from sharedmem.arrays.conversion import as_ndarray
from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.engine.reduce import Array, Axis, State, by_line, map_parts, reduce
from sharedmem.engine.runners import Stream, run_serially
from sharedmem.kernels.reduction import LineReduction, Reduction
from sharedmem.machine.tuning import tuning

# Where chunks begin and end along the axes that are kept.
Place = tuple[tuple[int, int], ...]


def reduce_store(
    stream: Stream, reduction: Reduction, store: Any, axis: Axis = None, keepdims: bool = False
) -> Any:
    """Reduce an array in a file over some of its axes.

    The parameters, and what is returned and raised, are otherwise those of
    :func:`engine.reduce.reduce`. Which elements are in a chunk depends on the shape, the dtype
    and the chunks of the file; states of neighbors are combined, in the order of the chunks.
    A file without gaps that is reduced as a whole is one line, in chunks whose states are those
    that threads compute of an array in memory: so the result has the same bits.
    """
    if store.ndim == 0 or 0 in store.shape:
        return reduce(run_serially, reduction, as_ndarray(store[...]), axis, keepdims)
    axes = normalize_axis_tuple(range(store.ndim) if axis is None else axis, store.ndim, "axis")
    kept = [at for at in range(store.ndim) if at not in axes]
    dtype = store.dtype
    of_lines = reduction if isinstance(reduction, LineReduction) else by_line(reduction, dtype)
    if of_lines.whole and not kept and isinstance(store, ArrayFile):
        line = store.line(tuning.chunk_bytes // dtype.itemsize)
        if line is not None and line != store:
            result = reduce_store(stream, reduction, line)
            shape = (1,) * store.ndim if keepdims else ()
            return map_parts(lambda part: np.reshape(part, shape)[()], result)
    trees = _reduce_chunks(stream, ChunkTask(store, of_lines, axes), kept)
    if not (of_lines is reduction or kept or keepdims):
        return reduction.finalize(trees[()].root()[0].item())
    results = {
        place: _finalize(of_lines, tree.root(), place, store.ndim) for place, tree in trees.items()
    }
    kept_shape = [store.shape[at] for at in kept]

    def join(*parts: Array) -> Any:
        joined = np.empty([*kept_shape, *parts[0].shape[len(kept) :]], parts[0].dtype)
        for place, part in zip(results, parts, strict=True):
            joined[tuple(slice(*bounds) for bounds in place)] = part
        return np.expand_dims(joined, axes)[()] if keepdims else joined[()]

    return map_parts(join, *results.values())


@dataclasses.dataclass(frozen=True)
class ChunkTask:
    """A task that reads a chunk and reduces it to a state, of arrays with all axes."""

    store: Any
    reduction: LineReduction
    axes: tuple[int, ...]

    def reads(self, chunk: Chunk) -> list[tuple[Any, Chunk]]:
        """Return the arrays and regions that are read for a chunk."""
        return [(self.store, chunk)]

    def __call__(self, chunk: Chunk) -> State:
        """Return the state of a chunk."""
        to_state = dataclasses.replace(self.reduction, finalize=tuple, direct=None)
        values = as_ndarray(self.store[tuple(chunk)])
        return reduce(run_serially, to_state, values, self.axes, keepdims=True)  # type: ignore[no-any-return]


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


def _reduce_chunks(stream: Stream, task: ChunkTask, kept: Sequence[int]) -> dict[Place, _Tree]:
    trees: dict[Place, _Tree] = {}
    grid = chunks(task.store, _cutting_order(task, kept))
    for chunk, state in zip(grid, stream(task, grid), strict=True):
        place = tuple((chunk[at].start, chunk[at].stop) for at in kept)
        trees.setdefault(place, _Tree(task.reduction.combine)).add(state)
    return trees


def _cutting_order(task: ChunkTask, kept: Sequence[int]) -> Sequence[int]:
    """Return the axes in the order in which they are cut.

    In memory, lines stay whole where many of them fit into a chunk: nothing is left to combine.
    """
    shape, axes = task.store.shape, range(task.store.ndim)
    side_by_side = min(tuning.lines_per_chunk, math.prod(shape[at] for at in kept))
    line_bytes = math.prod(shape[at] for at in task.axes) * task.store.dtype.itemsize
    in_memory = max(units_of(task.store, shape)) == 1
    fits = side_by_side * line_bytes <= tuning.chunk_bytes
    return [*kept, *task.axes] if in_memory and fits else axes


def _finalize(reduction: Reduction, state: State, place: Place, ndim: int) -> Any:
    lines = tuple(part.reshape([-1, 1, *part.shape[ndim:]]) for part in state)
    kept = [stop - start for start, stop in place]
    return map_parts(lambda part: part.reshape([*kept, *part.shape[2:]]), reduction.finalize(lines))
