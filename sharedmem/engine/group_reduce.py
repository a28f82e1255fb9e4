"""Reductions of groups on a team: lines in pieces, or, for many groups, elements in buckets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.engine.long_lines import is_sorted
from sharedmem.engine.runners import Run
from sharedmem.kernels.group_families import GroupFamily
from sharedmem.kernels.grouping import (
    add_to_groups,
    count_buckets,
    fill_buckets,
    new_table,
)
from sharedmem.kernels.loops.layout import as_numbers
from sharedmem.kernels.quiet import quiet, quietly
from sharedmem.kernels.reduction import State
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]
# ``finish(states)`` returns the results of the states of each family, arrays of the same shape.
Finish = Callable[[list[State]], list[Array]]

# Elements in the order of buckets, their codes, and their places.
Buckets = tuple[Array, Array, Array | None]

# Columns are read in runs of a few cache lines.
_COLUMNS = 64


@dataclass(frozen=True)
class GroupReduction:
    """A reduction of the groups of the elements of each line.

    Which elements are added together depends on the shape of the array and the number of groups
    alone, so that the bits do not depend on the number of workers.

    Attributes
    ----------
    families : sequence of GroupFamily
        What is found of each group, in one pass.
    finish : callable
        See `Finish`.
    n_groups : int
    needs_places : bool
        Whether a family depends on the places of elements in their lines.
    """

    families: Sequence[GroupFamily]
    finish: Finish
    n_groups: int
    needs_places: bool

    def __call__(self, run: Run, x: Array, codes: NDArray[np.intp]) -> list[Array]:
        """Return the results, each of shape (n_outer, n_groups, n_inner).

        Parameters
        ----------
        run : callable
            ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
        x : ndarray, shape (n_outer, n, n_inner)
            Of a dtype that kernels support, and any strides.
        codes : ndarray of intp, shape (n,), contiguous
            The group of each element, or -1.
        """
        n_outer, _, n_inner = x.shape
        shape = n_outer, self.n_groups, n_inner
        found = quietly(self.finish, self.nothing(1, 0, 1))
        outs = [np.empty(shape, each.dtype) for each in found]
        if not x.size:
            self._write(self.nothing(*shape), outs)
        elif self._n_words * self.n_groups <= tuning.group_table_words or n_outer * n_inner >= 64:
            self._in_pieces(run, x, codes, outs)
        else:
            for outer, inner in np.ndindex(n_outer, n_inner):
                self._in_buckets(run, x[outer, :, inner], codes, [o[outer, :, inner] for o in outs])
        return outs

    def nothing(self, n_outer: int, n_groups: int, n_inner: int) -> list[State]:
        """Return states of no elements."""
        return self._settled(self._tables(n_outer, n_groups, n_inner))

    @quiet
    def combined(self, a: list[State], b: list[State]) -> list[State]:
        """Return the states of two neighboring pieces."""
        return [each.combined(*pair) for each, *pair in zip(self.families, a, b, strict=True)]

    @property
    def _n_words(self) -> int:
        return sum(len(family.start) for family in self.families)

    def _tables(self, n_outer: int, n_slots: int, n_inner: int) -> list[Array]:
        return [new_table(family, n_outer, n_slots, n_inner) for family in self.families]

    @quiet
    def _settled(self, tables: list[Array]) -> list[State]:
        """Return the states in tables in the form in which they combine."""
        states: list[State] = []
        for family, table in zip(self.families, tables, strict=True):
            state = tuple(np.moveaxis(table, 2, 0))
            states.append(state if family.settle is None else family.settle(state))
        return states

    def _in_pieces(self, run: Run, x: Array, codes: Array, outs: list[Array]) -> None:
        """Add the elements of each line in order or, of long lines, those of each piece."""
        size = self._n_words * (self.n_groups + 1)
        n_outer, n, n_inner = x.shape
        width = min(n_inner, max(_COLUMNS, tuning.group_table_words // (4 * size)))
        height = max(1, min(tuning.chunk_bytes // 8 // max(n * width, size * width), n_outer))
        lines = chunks((n_outer, n_inner), (0, 1), size=(height, width))
        longest = max(tuning.chunk_bytes // 8 // width, 4 * size)
        n_pieces = 1 if len(lines) >= 16 else max(1, min(64, n // longest))
        pieces = chunks(n, n=n_pieces)

        def reduce_part(index: int) -> list[State] | None:
            outer, inner = lines[index // n_pieces]
            (piece,) = pieces[index % n_pieces]
            part = x[outer, piece, inner]
            tables = self._tables(len(part), self.n_groups + 1, part.shape[2])
            self._add(part, codes[piece], tables, piece.start)
            states = self._settled([table[:, 1:] for table in tables])
            if n_pieces > 1:
                return states
            self._write(states, [out[outer, :, inner] for out in outs])
            return None

        found = run(reduce_part, range(len(lines) * n_pieces))
        if n_pieces == 1:
            return
        parts = chunks(self.n_groups, size=tuning.chunk_bytes // 64)

        def combine(index: int) -> None:
            outer, inner = lines[index // len(parts)]
            (part,) = parts[index % len(parts)]
            first = index // len(parts) * n_pieces
            states = reduce(
                self.combined,
                (
                    [tuple(word[:, part] for word in state) for state in piece]
                    for piece in found[first : first + n_pieces]
                ),
            )
            self._write(states, [out[outer, part, inner] for out in outs])

        run(combine, range(len(lines) * len(parts)))

    @quiet
    def _write(self, states: list[State], outs: list[Array]) -> None:
        for out, found in zip(outs, self.finish(states), strict=True):
            out[...] = found

    def _add(
        self, x: Array, codes: Array, tables: list[Array], first: int, places: Array | None = None
    ) -> None:
        """Add elements to the states in tables, all families to some of them at a time."""
        step = max(1, tuning.group_run_length // (x.shape[0] * x.shape[2]))
        for start in range(0, x.shape[1], step):
            some = slice(start, start + step)
            numbers, where = _readable(x[:, some]), None if places is None else places[some]
            for family, table in zip(self.families, tables, strict=True):
                add_to_groups(family, numbers, codes[some], table, first + start, where)

    def _in_buckets(self, run: Run, x: Array, codes: Array, outs: list[Array]) -> None:
        """Put elements into buckets, by groups whose states fit into a cache, and add each bucket.

        Parameters
        ----------
        x : ndarray, shape (n,)
        outs : list of ndarray, each of shape (n_groups,)
        """
        shift = (tuning.group_bucket_words // self._n_words).bit_length() - 1
        n_buckets = (self.n_groups >> shift) + 1
        tables = self._tables(1, n_buckets << shift, 1)
        if is_sorted(run, codes):
            bounds = np.searchsorted(codes, (np.arange(n_buckets + 1) << shift) - 1)

            def add(bucket: int) -> None:
                part = slice(*bounds[bucket : bucket + 2])
                self._add(x[None, part, None], codes[part], tables, part.start)

            run(add, range(n_buckets))
        else:
            self._add_slabs(run, x, codes, tables, shift)

        def write(groups: Chunk) -> None:
            slots = slice(groups[0].start + 1, groups[0].stop + 1)
            states = self._settled([table[:, slots] for table in tables])
            self._write(states, [out[None, groups[0], None] for out in outs])

        run(write, chunks(self.n_groups, size=tuning.chunk_bytes // 64))

    def _add_slabs(self, run: Run, x: Array, codes: Array, tables: list[Array], shift: int) -> None:
        """Put elements into buckets, and add each bucket: a slab of the line at a time."""
        n_buckets, slab = tables[0].shape[1] >> shift, max(tuning.group_slab_length, self.n_groups)
        n, kind = min(slab, len(x)), as_numbers(x[:0, None, None]).dtype.newbyteorder("=")
        numbers, relative = np.empty(n, kind), np.empty(n, np.int32)
        places = np.empty(n, np.int64) if self.needs_places else None
        for start in range(0, len(x), slab):
            part = slice(start, min(start + slab, len(x)))
            buckets = numbers, relative, places
            bounds = _fill_buckets(run, x, codes, part, shift, n_buckets, buckets)

            def add(bucket: int, bounds: Array = bounds) -> None:
                part = slice(*bounds[bucket : bucket + 2])
                some = [table[:, bucket << shift : (bucket + 1) << shift] for table in tables]
                where = None if places is None else places[part]
                self._add(numbers[None, part, None], relative[part], some, 0, where)

            run(add, range(n_buckets))


def _fill_buckets(
    run: Run, x: Array, codes: Array, part: slice, shift: int, n_buckets: int, buckets: Buckets
) -> Array:
    """Put a part of the elements into buckets, each in order; return the bounds of these."""
    pieces = [
        slice(start, min(start + tuning.group_piece_length, part.stop))
        for start in range(part.start, part.stop, tuning.group_piece_length)
    ]
    counts = np.array(run(lambda piece: count_buckets(codes[piece], shift, n_buckets), pieces))
    ends = np.cumsum(counts.T).reshape(counts.T.shape).T - counts

    def move(index: int) -> None:
        piece = pieces[index]
        numbers = _readable(x[None, piece, None])[0, :, 0]
        fill_buckets(numbers, codes[piece], shift, ends[index].copy(), buckets, piece.start)

    run(move, range(len(pieces)))
    return np.append(0, np.cumsum(counts.sum(axis=0)))


def _readable(x: Array) -> Array:
    """Return an array, of shape (n_outer, n, n_inner), as kernels of groups read it."""
    x = as_numbers(x)
    is_dense = x.shape[2] == 1 or x.strides[2] == x.itemsize
    is_plain = x.flags.aligned and x.dtype.isnative
    if is_dense and is_plain and not any(stride % x.itemsize for stride in x.strides):
        return x
    return np.ascontiguousarray(x, x.dtype.newbyteorder("="))
