"""Chunks with a halo of their neighbors: what a stencil's kernel sees of its arrays."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, Grid
from sharedmem.arrays.conversion import read_only
from sharedmem.arrays.shared_array import populate
from sharedmem.engine.operands import is_store
from sharedmem.engine.regions import Region, forward, read, room, write
from sharedmem.engine.user_kernels import check_result, compile_kernel

Array = NDArray[Any]


@dataclass(frozen=True)
class Axis:
    """The depth of the halo along an axis, and the boundary condition."""

    length: int
    depth: int
    boundary: Any

    def interior(self, part: slice) -> slice:
        """Return the part of a chunk that has a halo on both sides."""
        start, stop, _ = part.indices(self.length)
        if self.boundary == "none":
            start = max(start, self.depth)
            stop = max(start, min(stop, self.length - self.depth))
        return slice(start, stop)

    def reach(self, part: slice) -> slice:
        """Return a part with its halo, which may leave the array."""
        return slice(part.start - self.depth, part.stop + self.depth)

    def inside(self, reach: slice) -> slice:
        """Return the part of a range that does not leave the array."""
        return slice(max(reach.start, 0), min(reach.stop, self.length))

    def parts(self, reach: slice) -> Iterator[tuple[slice, Any]]:
        """Yield the parts of a range, each with where it comes from, or with its constant value.

        The array continues in copies of itself: 0 is the array, 1 the copy after it, -1 the one
        before it.
        """
        start, stop = reach.start, reach.stop
        n = self.length
        for copy in range(start // n, (stop - 1) // n + 1):
            low, high = max(start, copy * n), min(stop, (copy + 1) * n)
            first, last = low - copy * n, high - copy * n
            source: Any = slice(first, last)
            if copy == 0 or self.boundary == "periodic":
                pass
            elif self.boundary == "nearest":
                source = slice(0, 1) if copy < 0 else slice(n - 1, n)
            elif self.boundary != "reflect":
                source = self.boundary
            elif copy % 2:
                source = slice(n - 1 - first, n - 1 - last if last < n else None, -1)
            yield slice(low - start, high - start), source


@dataclass(frozen=True)
class StencilTask:
    """A task that calls a kernel on one chunk of the outputs, and that of the inputs around it."""

    kernel: Callable[..., Any]
    inputs: tuple[Array, ...]
    outs: tuple[Array, ...]
    axes: tuple[Axis, ...]
    args: tuple[Any, ...]
    with_position: bool
    # Of each thread, for chunks that are copied: fresh pages would take longer than the kernel.
    buffers: threading.local = field(default_factory=threading.local)

    def reads(self, chunk: Chunk) -> list[tuple[Any, Region]]:
        """Return the arrays and regions that are read for a chunk."""
        interior = self._interior(chunk)
        if not _has_elements(interior):
            return []
        reach, inside = self._reach(interior)
        sources = [part for _, part in self._parts(reach) if not _constants(part)]
        regions = [inside, *(part for part in sources if not _is_within(part, inside))]
        return [(a, region) for region in regions for a in self.inputs]

    def __reduce__(self) -> Any:
        # Without the buffers, which another process makes for itself.
        fields = (self.kernel, self.inputs, self.outs, self.axes, self.args, self.with_position)
        return StencilTask, fields

    def __call__(self, chunk: Chunk) -> None:
        """Call the kernel on one chunk, and write what it gives to files."""
        interior = self._interior(chunk)
        if _has_elements(interior):
            for out in self.outs:
                if not is_store(out):
                    populate(out[interior])
            arguments = self._arguments(interior, fill=True)
            check_result(self.kernel, self.kernel(*arguments), arguments)
            for out, values in zip(self.outs, arguments[len(self.inputs) :], strict=False):
                write(out, interior, values)

    def compile(self, grid: Grid) -> None:
        """Compile the kernel for each layout in memory that the chunks of the grid have."""
        interiors = map(self._interior, _one_of_each_kind(grid))
        for interior in filter(_has_elements, interiors):
            compile_kernel(self.kernel, *self._arguments(interior, fill=False))

    def _interior(self, chunk: Chunk) -> Region:
        whole = (*chunk, *[slice(None)] * (len(self.axes) - len(chunk)))
        return tuple(map(Axis.interior, self.axes, whole))

    def _arguments(self, interior: Region, fill: bool) -> tuple[Any, ...]:
        reach, inside = self._reach(interior)
        if reach == inside:
            around = [read_only(read(a, reach)) if is_store(a) else a[reach] for a in self.inputs]
        else:
            around = self._buffers(tuple(part.stop - part.start for part in reach))
            if fill:
                self._fill(around, reach, inside)
        outs = [room(out, interior) for out in self.outs]
        position = [tuple(part.start for part in interior)] if self.with_position else []
        return (*around, *outs, *position, *self.args)

    def _reach(self, interior: Region) -> tuple[Region, Region]:
        """Return what a kernel sees, which may leave the arrays, and what of it is in them."""
        reach = tuple(map(Axis.reach, self.axes, interior))
        return reach, tuple(map(Axis.inside, self.axes, reach))

    def _parts(self, reach: Region) -> Iterator[tuple[Region, Any]]:
        """Yield the parts of what a kernel sees, and where they come from."""
        for part in itertools.product(*map(Axis.parts, self.axes, reach)):
            places, sources = zip(*part, strict=True)
            yield places, sources

    def _buffers(self, shape: tuple[int, ...]) -> list[Array]:
        kept: dict[Any, list[Array]] = self.buffers.__dict__
        if shape not in kept:
            kept[shape] = [
                np.empty(shape, a.dtype) if is_store(a) else np.empty_like(a, shape=shape)
                for a in self.inputs
            ]
        return kept[shape]

    def _fill(self, buffers: Sequence[Array], reach: Region, inside: Region) -> None:
        """Copy the chunks that reach beyond the ends of the arrays, and what lies there."""
        inputs = [_Near(a, inside) if is_store(a) else a for a in self.inputs]
        for places, sources in self._parts(reach):
            constants = _constants(sources)
            for buffer, a in zip(buffers, inputs, strict=True):
                buffer[places] = constants[-1] if constants else a[sources]


class _Near:
    """An array in a file, with a region of it in memory that edges are mirrored from."""

    def __init__(self, store: Any, region: Region) -> None:
        self._store, self._region = store, region
        self._values = read(store, region)

    def __getitem__(self, sources: Region) -> Any:
        if not _is_within(sources, self._region):
            return read(self._store, sources)
        pairs = zip(map(forward, sources), self._region, strict=True)
        here: Any = [slice(near.start - part.start, near.stop - part.start) for near, part in pairs]
        steps: Any = [slice(None, None, source.step) for source in sources]
        return self._values[(*here, ...)][(*steps, ...)]


def _constants(sources: Sequence[Any]) -> list[Any]:
    return [source for source in sources if not isinstance(source, slice)]


def _is_within(sources: Region, region: Region) -> bool:
    pairs = zip(map(forward, sources), region, strict=True)
    return all(part.start <= near.start and near.stop <= part.stop for near, part in pairs)


def _has_elements(part: Region) -> bool:
    return all(axis.start < axis.stop for axis in part)


def _one_of_each_kind(grid: Grid) -> Iterator[Chunk]:
    """Yield the first two and the last two chunks along each axis, in all combinations.

    Chunks at an edge may be copies, and those inside are views; along an axis sizes differ by one.
    """
    ends = [sorted({0, min(1, n - 1), max(n - 2, 0), n - 1}) for n in grid.counts]
    for coordinates in itertools.product(*ends):
        index = int(np.ravel_multi_index(coordinates, grid.counts))
        if index in grid.indices:
            yield grid[grid.indices.index(index)]
