"""Reductions of arrays that are computed as they are read: all of one shape in one pass."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.arrays.chunks import chunks
from sharedmem.engine.computed import Computed, Elementwise
from sharedmem.engine.line_view import Lines
from sharedmem.engine.operands import common_shape, is_store
from sharedmem.engine.reduce import (
    Axis,
    Request,
    State,
    map_parts,
    reduce_lines,
    restore,
)
from sharedmem.engine.reduce_stored import reduce_stores
from sharedmem.engine.regions import Derived, broadcast
from sharedmem.engine.runners import ArrayRunner
from sharedmem.kernels.loops.lanes import LANES
from sharedmem.kernels.loops.lines import WIDTH
from sharedmem.kernels.loops.pieces import AREA, piece_length, reduce_together
from sharedmem.kernels.machine_code import alone
from sharedmem.kernels.reduction import LineReduction, Reduction
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]


def computed(
    runner: ArrayRunner, function: Elementwise, operands: Sequence[Any]
) -> Computed | Derived:
    """Return what a function gives of arrays, in memory or in files, to be reduced.

    Raises
    ------
    ValueError
        If their shapes cannot be broadcast.
    """
    if not (runner.sees(*operands) or any(map(is_store, operands))):
        return Computed.of(function, operands)
    shape = common_shape([x.shape for x in operands])
    sources = tuple(broadcast(x, shape) for x in operands)
    return Derived(partial(_values, function), sources, shape, function.dtype)


def _values(function: Elementwise, *operands: Array) -> Array:
    out: Array = np.empty(operands[0].shape, function.dtype)
    function.fill(operands, out)
    return out


def reduce_computed(runner: ArrayRunner, requests: Sequence[Request]) -> list[Any]:
    """Reduce arrays, each returned by :func:`computed` and not empty.

    Those in memory of one shape and order that are reduced over the same axes are computed in one
    pass. Each result has the bits of that of an array in memory. Those in files of one shape are
    all read in one pass.

    Returns
    -------
    list
        The result of each reduction; see :func:`~sharedmem.engine.reduce.reduce`.
    """
    results: list[Any] = [None] * len(requests)
    together: dict[Any, list[int]] = {}
    for at, request in enumerate(requests):
        way, key = _way(request)
        together.setdefault((way, at if key is None else key), []).append(at)
    for (way, _), places in together.items():
        found = way(runner, [requests[at] for at in places])
        for at, result in zip(places, found, strict=True):
            results[at] = result
    return results


Way = Callable[[ArrayRunner, Sequence[Request]], list[Any]]


def _way(request: Request) -> tuple[Way, Any]:
    """Return how a request is computed, and a key: those with the same one share a pass."""
    reduction, a, axis, _ = request
    if isinstance(a, Derived):
        return _reduce_stored, a.shape
    axes = _axes(a, axis)
    if not _has_pieces(reduction, a.lines(axes)):
        return _reduce_chunks, None
    is_fused = getattr(reduction, "spec", None) is not None and a.elements() is not None
    return _reduce_in_registers if is_fused else _reduce_tiles, (a.shape, a.order, axes)


def _axes(a: Computed, axis: Axis) -> frozenset[int]:
    every = range(a.ndim) if axis is None else axis
    return frozenset(normalize_axis_tuple(every, a.ndim, "axis"))


def _reduce_stored(runner: ArrayRunner, requests: Sequence[Request]) -> list[Any]:
    stream, _, seen, _ = runner.stored(tuple(request.a for request in requests))
    sent = [request._replace(a=a) for request, a in zip(requests, seen, strict=True)]
    return reduce_stores(stream, sent)


def _reduce_chunks(runner: ArrayRunner, requests: Sequence[Request]) -> list[Any]:
    """Return the result of a request, from chunks like those of an array in memory."""
    (request,) = requests
    lines, run = _lines(request), runner.run(request.a.nbytes)
    return _restored(requests, [reduce_lines(run, request.reduction, lines, len(lines.grid))])


def _reduce_in_registers(runner: ArrayRunner, requests: Sequence[Request]) -> list[Any]:
    """Return the results of kernels that compute the elements in registers."""
    lines = _lines(requests[0])
    specs: Any = [request.reduction.spec(lines.length) for request in requests]  # type: ignore[attr-defined]
    elements: Any = [request.a.elements() for request in requests]
    share = runner.share(max(request.a.nbytes for request in requests))
    return _restored(requests, reduce_together(specs, elements, lines.lengths, share))


def _lines(request: Request) -> Lines:
    lines: Lines = request.a.lines(_axes(request.a, request.axis))
    return lines


def _restored(requests: Sequence[Request], values: Sequence[Any]) -> list[Any]:
    """Return results with the axes of the arrays."""
    return [
        map_parts(lambda part, one=one: restore(part, one.a, _axes(*one[1:3]), one.keepdims), value)
        for one, value in zip(requests, values, strict=True)
    ]


def _has_pieces(reduction: Reduction, lines: Lines) -> bool:
    """Return whether a kernel would cut an array that is not computed into pieces of its own."""
    n_chunks, is_long = len(lines.grid), lines.length >= tuning.shared_line_length
    if not (isinstance(reduction, LineReduction) and reduction.whole and lines.is_canonical()):
        return False
    return reduction.direct is not None or n_chunks == 1 or is_long


class _Tile(NamedTuple):
    """A region of lines, of shape (n_outer, n, n_inner), and the pieces of lines that it covers."""

    outer: slice
    along: slice
    inner: slice
    pieces: slice

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the region."""
        return tuple(part.stop - part.start for part in self[:3])


def _tiles(n_outer: int, n: int, n_inner: int) -> list[_Tile]:
    """Cut lines into tiles of pieces, or of short lines, that stay in the caches."""
    length, block = piece_length(n, n_inner), min(n_inner, WIDTH)
    n_whole, rest = divmod(n, length)
    side = max(1, AREA // (length * block))
    n_together, n_lines = (side, 1) if n_whole + bool(rest) > 1 else (1, side)
    pieces = [*_steps(n_whole, n_together), *([slice(n_whole, n_whole + 1)] if rest else [])]
    columns = [*_steps(n_inner, block)]
    if len(columns) > 1 and n_inner % block <= LANES:  # kernels reduce so few in another order
        columns[-2:] = [slice(columns[-2].start, n_inner)]
    return [
        _Tile(outer, slice(some.start * length, min(some.stop * length, n)), inner, some)
        for some, outer, inner in itertools.product(pieces, _steps(n_outer, n_lines), columns)
    ]


def _steps(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _reduce_tiles(runner: ArrayRunner, requests: Sequence[Request]) -> list[Any]:
    """Return the results of pieces like those of kernels, computed in tiles."""
    lines = [*map(_lines, requests)]
    n_outer, n, n_inner = lines[0].lengths
    tiles = _tiles(n_outer, n, n_inner)
    n_pieces = tiles[-1].pieces.stop
    states = [
        tuple(
            np.empty((n_pieces, n_outer, n_inner, *part.shape[2:]), part.dtype)
            for part in request.reduction.chunk(np.zeros((1, 1, 1), request.a.dtype), alone)
        )
        for request in requests
    ]
    views = {request.a: of for request, of in zip(requests, lines, strict=True)}
    largest = max(math.prod(tile.shape) for tile in tiles)

    def reduce_some(some: slice) -> None:
        rooms = {a: np.empty(largest, a.dtype) for a in views}
        for tile in tiles[some]:
            values = {a: _compute(lines, tile, rooms[a]) for a, lines in views.items()}
            for request, state in zip(requests, states, strict=True):
                _reduce_tile(request.reduction, values[request.a], tile, state)

    run = runner.run(max(request.a.nbytes for request in requests))
    tasks = chunks(len(tiles), n=max(1, tuning.tasks_per_worker * runner.n_workers))
    run(reduce_some, [task[0] for task in tasks])
    pairs = zip(requests, states, strict=True)
    values = [one.reduction.finalize(_fold(one.reduction, state)) for one, state in pairs]
    return _restored(requests, values)


def _compute(lines: Lines, tile: _Tile, room: Array) -> Array:
    """Compute the elements of a tile."""
    n_each = lines.n_outer, lines.n_reduced, lines.view.ndim - lines.n_outer - lines.n_reduced
    region = tuple(part for part, n in zip(tile, n_each, strict=False) if n)
    view: Any = lines.view
    values: Array = view.computed(region, room)
    return values.reshape(tile.shape)


def _reduce_tile(reduction: Reduction, values: Array, tile: _Tile, state: State) -> None:
    n_pieces = tile.pieces.stop - tile.pieces.start
    if n_pieces > 1:  # of a single line, side by side as lines
        values = values.reshape(n_pieces, -1, 1)
    parts = reduction.chunk(values, alone)
    for whole, part in zip(state, parts, strict=True):
        here = whole[tile.pieces, tile.outer, tile.inner]
        here[...] = part.reshape(here.shape)


def _fold(reduction: Reduction, states: State) -> State:
    """Combine the states of pieces as kernels do: all first ones with all second ones."""
    while len(states[0]) > 1:
        half = len(states[0]) // 2
        shape = states[0].shape[1:3]

        def some(start: int, half: int = half, states: State = states) -> State:
            parts = (part[start : start + half] for part in states)
            return tuple(part.reshape(-1, *part.shape[2:]) for part in parts)

        folded = reduction.combine(some(0), some(half))
        states = tuple(
            np.concatenate([new.reshape(half, *shape, *new.shape[2:]), part[2 * half :]])
            for new, part in zip(folded, states, strict=True)
        )
    return tuple(part[0] for part in states)
