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

    def interior(self, start: int, stop: int) -> slice:
        """Return the part of a chunk that has a halo on both sides."""
        if self.boundary == "none":
            start = max(start, self.depth)
            stop = max(start, min(stop, self.length - self.depth))
        return slice(start, stop)

    def parts(self, start: int, stop: int) -> Iterator[tuple[slice, slice | None]]:
        """Yield the parts of a range, which may leave the array, and where they come from.

        The array continues in copies of itself: 0 is the array, 1 the copy after it, -1 the one
        before it. A part without a source is constant.
        """
        n = self.length
        for copy in range(start // n, (stop - 1) // n + 1):
            low, high = max(start, copy * n), min(stop, (copy + 1) * n)
            first, last = low - copy * n, high - copy * n
            source: slice | None = slice(first, last)
            if copy == 0 or self.boundary == "periodic":
                pass
            elif self.boundary == "nearest":
                source = slice(0, 1) if copy < 0 else slice(n - 1, n)
            elif self.boundary != "reflect":
                source = None
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
        reach = self._reach(interior)
        inside = self._inside(reach)
        sources = [part for _, part in self._parts(reach) if None not in part]
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
        layouts = set()
        interiors = map(self._interior, _one_of_each_kind(grid))
        for interior in filter(_has_elements, interiors):
            arguments = self._arguments(interior, fill=False)
            n_arrays = len(self.inputs + self.outs)
            flags = [x.flags for x in arguments[:n_arrays]]
            layout = tuple((flag.c_contiguous, flag.f_contiguous) for flag in flags)
            if layout not in layouts:
                layouts.add(layout)
                compile_kernel(self.kernel, *arguments)

    def _interior(self, chunk: Chunk) -> Region:
        whole = (*chunk, *[slice(None)] * (len(self.axes) - len(chunk)))
        return tuple(
            axis.interior(*part.indices(axis.length)[:2])
            for axis, part in zip(self.axes, whole, strict=True)
        )

    def _arguments(self, interior: Region, fill: bool) -> tuple[Any, ...]:
        reach = self._reach(interior)
        if self._is_inside(reach):
            around = [_read_input(a, tuple(slice(*ends) for ends in reach)) for a in self.inputs]
        else:
            around = self._buffers(tuple(stop - start for start, stop in reach))
            if fill:
                self._fill(around, reach)
        outs = [room(out, interior) for out in self.outs]
        position = [tuple(part.start for part in interior)] if self.with_position else []
        return (*around, *outs, *position, *self.args)

    def _reach(self, interior: Region) -> list[tuple[int, int]]:
        return [
            (part.start - axis.depth, part.stop + axis.depth)
            for axis, part in zip(self.axes, interior, strict=True)
        ]

    def _is_inside(self, reach: Sequence[tuple[int, int]]) -> bool:
        bounds = zip(self.axes, reach, strict=True)
        return all(start >= 0 and stop <= axis.length for axis, (start, stop) in bounds)

    def _parts(self, reach: Sequence[tuple[int, int]]) -> Iterator[tuple[Region, Any]]:
        """Yield the parts of what a kernel sees, and where they come from."""
        parts = [axis.parts(*ends) for axis, ends in zip(self.axes, reach, strict=True)]
        for part in itertools.product(*parts):
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

    def _fill(self, buffers: Sequence[Array], reach: Sequence[tuple[int, int]]) -> None:
        """Copy the chunks that reach beyond the ends of the arrays, and what lies there."""
        inputs = [_Near(a, self._inside(reach)) if is_store(a) else a for a in self.inputs]
        for places, sources in self._parts(reach):
            constants = [
                axis.boundary
                for axis, source in zip(self.axes, sources, strict=True)
                if source is None
            ]
            for buffer, a in zip(buffers, inputs, strict=True):
                buffer[places] = constants[-1] if constants else a[sources]

    def _inside(self, reach: Sequence[tuple[int, int]]) -> Region:
        return tuple(
            slice(max(start, 0), min(stop, axis.length))
            for axis, (start, stop) in zip(self.axes, reach, strict=True)
        )


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


def _is_within(sources: Region, region: Region) -> bool:
    pairs = zip(map(forward, sources), region, strict=True)
    return all(part.start <= near.start and near.stop <= part.stop for near, part in pairs)


def _read_input(a: Any, region: Region) -> Any:
    values = read(a, region)
    return read_only(values) if is_store(a) else values


def _has_elements(part: Region) -> bool:
    return all(axis.start < axis.stop for axis in part)


def _one_of_each_kind(grid: Grid) -> Iterator[Chunk]:
    """Yield the first two and the last two chunks along each axis, in all combinations.

    Chunks at an edge may be copies, and those inside are views; along an axis sizes differ by one.
    """
    ends = [sorted({0, min(1, n - 1), max(n - 2, 0), n - 1}) for n in grid.counts]
    for coordinates in itertools.product(*ends):
        index = 0
        for coordinate, count in zip(coordinates, grid.counts, strict=True):
            index = index * count + coordinate
        if index in grid.indices:
            yield grid[grid.indices.index(index)]
