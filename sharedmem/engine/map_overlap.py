"""Stencils: kernels over chunks of arrays that come with a halo of their neighbours."""

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
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import (
    as_array,
    as_input,
    as_tuple,
    check_grid,
    check_kernel,
    check_stored,
    check_writable,
    is_store,
)
from sharedmem.engine.regions import (
    check_cut,
    cut,
    forward,
    is_same_store,
    place,
    read,
    room,
    write,
)
from sharedmem.engine.runners import ArrayRunner, run_serially
from sharedmem.engine.user_kernels import check_result, compile_kernel, run_kernel, serial_form
from sharedmem.machine.arguments import check_count

Array = NDArray[Any]
Slices = tuple[slice, ...]

BOUNDARIES = ("reflect", "periodic", "nearest", "none")


@dataclass(frozen=True)
class _Axis:
    """How far a kernel looks along an axis, and what it sees beyond the array's ends."""

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

        The array goes on in copies of itself: 0 is the array, 1 the copy behind it, -1 the one in
        front. A part that comes from nowhere is constant.
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
class _StencilTask:
    """A task that calls a kernel on one chunk of the outputs, and that of the inputs around it."""

    kernel: Callable[..., Any]
    inputs: tuple[Array, ...]
    outs: tuple[Array, ...]
    axes: tuple[_Axis, ...]
    args: tuple[Any, ...]
    with_position: bool
    # Of each thread, for chunks that are copied: fresh pages would take longer than the kernel.
    buffers: threading.local = field(default_factory=threading.local)

    def reads(self, chunk: Chunk) -> list[tuple[Any, Slices]]:
        """Return what is read for a chunk."""
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
        return _StencilTask, fields

    def __call__(self, chunk: Chunk) -> None:
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

    def _interior(self, chunk: Chunk) -> Slices:
        whole = (*chunk, *[slice(None)] * (len(self.axes) - len(chunk)))
        return tuple(
            axis.interior(*part.indices(axis.length)[:2])
            for axis, part in zip(self.axes, whole, strict=True)
        )

    def _arguments(self, interior: Slices, fill: bool) -> tuple[Any, ...]:
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

    def _reach(self, interior: Slices) -> list[tuple[int, int]]:
        return [
            (part.start - axis.depth, part.stop + axis.depth)
            for axis, part in zip(self.axes, interior, strict=True)
        ]

    def _is_inside(self, reach: Sequence[tuple[int, int]]) -> bool:
        bounds = zip(self.axes, reach, strict=True)
        return all(start >= 0 and stop <= axis.length for axis, (start, stop) in bounds)

    def _parts(self, reach: Sequence[tuple[int, int]]) -> Iterator[tuple[Slices, Any]]:
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

    def _inside(self, reach: Sequence[tuple[int, int]]) -> Slices:
        return tuple(
            slice(max(start, 0), min(stop, axis.length))
            for axis, (start, stop) in zip(self.axes, reach, strict=True)
        )


class _Near:
    """An array in a file, of which a region has been read: what is mirrored at an edge is there."""

    def __init__(self, store: Any, region: Slices) -> None:
        self._store, self._region = store, region
        self._values = read(store, region)

    def __getitem__(self, sources: Slices) -> Any:
        if not _is_within(sources, self._region):
            return read(self._store, sources)
        pairs = zip(map(forward, sources), self._region, strict=True)
        here: Any = [slice(near.start - part.start, near.stop - part.start) for near, part in pairs]
        steps: Any = [slice(None, None, source.step) for source in sources]
        return self._values[(*here, ...)][(*steps, ...)]


def _is_within(sources: Slices, region: Slices) -> bool:
    pairs = zip(map(forward, sources), region, strict=True)
    return all(part.start <= near.start and near.stop <= part.stop for near, part in pairs)


def map_overlap(
    runner: ArrayRunner,
    /,
    kernel: Callable[..., Any],
    a: Any,
    out: Any,
    *,
    depth: int | Sequence[int],
    boundary: Any = "reflect",
    args: tuple[Any, ...] = (),
    position: bool = False,
    chunks: Grid | None = None,
) -> Any:
    """Call a kernel on each chunk of arrays with a halo around it, in parallel: a stencil.

    Parameters
    ----------
    kernel : callable
        ``kernel(chunk_a, chunk_out, *args)``; for several arrays, the chunks of `a` come first,
        then those of `out`. Along each axis a chunk of `a` is longer by ``2 * depth``:
        ``chunk_a[i + depth]`` corresponds to ``chunk_out[i]``. Usually compiled with
        ``@numba.njit(nogil=True)``. :func:`map_chunks` says where it runs; it must return None.
    a : array_like, array in a file of zarr or h5py, or tuple of them
        Arrays to read, all of one shape, with at least one axis. Of an array in a file, each chunk
        is read with its halo.
    out : ndarray, array in a file, or tuple of them
        Arrays for the results, of the shape of `a` and any dtype. They must not share memory with
        `a`.
    depth : int or sequence of int
        How far the kernel looks along all axes, or along each of them. It may be 0, and larger
        than a chunk or the array.
    boundary : {"reflect", "periodic", "nearest", "none"} or number, or sequence of them, optional
        What the kernel sees beyond the ends of the array along all axes, or along each of them. To
        the right of ``a b c d``:

        - ``"reflect"``: ``d c b a a b``, like SciPy's and Dask's "reflect" and NumPy's "symmetric"
        - ``"periodic"``: ``a b c d a b``, like NumPy's and SciPy's "wrap"
        - ``"nearest"``: ``d d d d d d``, like NumPy's "edge"
        - a number: that number; in a corner, that of the last axis
        - ``"none"``: nothing. Elements of `out` that are nearer to an end than `depth` are not
          changed. (In Dask, the chunks at the ends lack their halo instead.)
    args : tuple
        Further arguments, passed whole to every call.
    position : bool, optional
        Whether to pass the index of the first element of the chunk in `out`, a tuple of ints,
        before `args`.
    chunks : Grid, optional
        Chunks of `out` made by :func:`sharedmem.chunks`. By default chunks of about 4 MiB. The
        caller itself computes an array of a single chunk.

    Returns
    -------
    ndarray or tuple of ndarray
        `out`.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or if `out` shares memory with `a`, is read-only, or
        is in private memory, where writes of worker processes are lost. Compiler errors are raised
        before any work is done.
    OverflowError
        If a constant boundary does not fit into the dtype.

    Notes
    -----
    Chunks inside the array are views, and so are all chunks along an axis with the boundary
    ``"none"``. Chunks that reach beyond an end are copied with their halo, in the memory order of
    the array.

    Examples
    --------
    >>> import numba, sharedmem
    >>> @numba.njit(nogil=True)
    ... def average_of_neighbors(x, result):
    ...     for i in range(len(result)):
    ...         result[i] = (x[i] + x[i + 2]) / 2
    >>> a = sharedmem.array([1.0, 2.0, 4.0, 8.0])
    >>> result = sharedmem.empty_like(a)
    >>> sharedmem.map_overlap(average_of_neighbors, a, result, depth=1).tolist()
    [1.5, 2.5, 5.0, 6.0]
    >>> sharedmem.map_overlap(average_of_neighbors, a, result, depth=1, boundary=0).tolist()
    [1.0, 2.5, 5.0, 2.0]
    """
    check_kernel(kernel)
    kernel = serial_form(kernel)
    targets = as_tuple(out) or (out,)
    run, given, targets, private_ok = runner.kernel_call(kernel, as_tuple(a), targets)
    for target in targets:
        (check_stored if is_store(target) else check_writable)(target, "out", private_ok)
    inputs = tuple(as_input(x, private_ok) for x in given)
    outs = tuple(map(as_array, targets))
    _check_arrays(inputs, outs)
    axes = _axes_of(inputs, depth, boundary)
    if chunks is None:
        grid = _default_grid(inputs, outs)
    else:
        grid = check_grid(chunks)
        check_cut(grid, place(outs, 0, grid))
    if not all(outs[0].shape):
        return out
    task = _StencilTask(kernel, inputs, outs, axes, args, position)
    task.compile(grid)
    run_kernel(run if len(grid) > 1 else run_serially, task, grid)
    return out


def _read_input(a: Any, region: Slices) -> Any:
    values = read(a, region)
    return read_only(values) if is_store(a) else values


def _default_grid(inputs: Sequence[Array], outs: Sequence[Array]) -> Grid:
    strides = getattr(inputs[0], "strides", None)  # a file is read in C order
    axes = range(inputs[0].ndim) if strides is None else memory_order(strides)
    widest = max((*inputs, *outs), key=lambda part: part.dtype.itemsize)
    return cut(widest, axes, outs, inputs)


def _has_elements(part: Slices) -> bool:
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


def _check_arrays(inputs: Sequence[Array], outs: Sequence[Array]) -> None:
    if not inputs:
        raise TypeError("map_overlap needs at least one array")
    shapes = {x.shape for x in (*inputs, *outs)}
    if len(shapes) > 1 or shapes == {()}:
        listed = ", ".join(str(x.shape) for x in (*inputs, *outs))
        raise ValueError(f"a and out need one shape, of at least one axis, got {listed}")
    for a, out in itertools.product(inputs, outs):
        are_arrays = isinstance(a, np.ndarray) and isinstance(out, np.ndarray)
        if np.shares_memory(a, out) if are_arrays else is_same_store(a, out):
            raise ValueError(
                "out shares memory with a, which other chunks still have to read; give another "
                "array as out, such as sharedmem.empty_like(a), and swap the two after each call"
            )


def _axes_of(inputs: Sequence[Array], depth: Any, boundary: Any) -> tuple[_Axis, ...]:
    shape = inputs[0].shape
    depths = [check_count("depth", d, 0) for d in _per_axis("depth", depth, len(shape))]
    boundaries = _per_axis("boundary", boundary, len(shape))
    for value in boundaries:
        for a in inputs:
            _check_boundary(value, a.dtype)
    return tuple(map(_Axis, shape, depths, boundaries))


def _per_axis(name: str, value: Any, n_axes: int) -> Sequence[Any]:
    values = value if isinstance(value, tuple | list) else [value] * n_axes
    if len(values) != n_axes:
        raise ValueError(f"{name}={value!r} has {len(values)} entries for arrays of {n_axes} axes")
    return values


def _check_boundary(value: Any, dtype: np.dtype[Any]) -> None:
    if isinstance(value, str):
        if value not in BOUNDARIES:
            raise ValueError(f"boundary is one of {BOUNDARIES} or a number, got {value!r}")
    elif not np.can_cast(np.min_scalar_type(value), dtype, "same_kind"):
        raise TypeError(f"the constant boundary {value!r} is not of dtype {dtype}")
    else:
        np.full(1, value, dtype)  # raises OverflowError
