"""Reductions of groups: elements are added, in order, to the states of their groups in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.group_families import GroupFamily, Words
from sharedmem.kernels.loops.emit import Block, Emitter, add_one
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, Numbers, kind_of
from sharedmem.kernels.loops.vectors import Vector

# The words of the block of a kernel that adds elements to states.
X, CODES, TABLE, PLACES, N_OUTER, N, N_INNER, OUTER_STRIDE, STRIDE, N_SLOTS, FIRST = range(11)
# The words of the block of a kernel that puts elements into buckets: the first two are as above.
OUT_X, OUT_CODES, OUT_PLACES, BUCKETS, SHIFT, MORE = range(2, 8)

# Elements whose groups are compared: if all are of one group, its state stays in registers. A state
# that was just stored takes long to load.
_BLOCK = 8
# Columns whose states are in registers together.
_COLUMNS = 8


def new_table(family: GroupFamily, n_outer: int, n_slots: int, n_inner: int) -> Array:
    """Return a table of states of no elements, of shape (n_outer, n_slots, n_words, n_inner)."""
    table = np.zeros((n_outer, n_slots, len(family.start), n_inner), family.dtype)
    for word, number in enumerate(family.start):
        if number:
            table[:, :, word] = number
    return table


def add_to_groups(
    family: GroupFamily, x: Array, codes: Array, table: Array, first: int, places: Array | None
) -> None:
    """Add elements to the states of their groups.

    Parameters
    ----------
    family : GroupFamily
    x : ndarray, shape (n_outer, n, n_inner)
        In the layout of :func:`~sharedmem.kernels.loops.layout.strided`, or with ``n_inner == 1``
        and any stride.
    codes : ndarray of int64 or int32, shape (n,)
        The slots of the elements in the table, less one.
    table : ndarray
        See :func:`new_table`.
    first : int
        The place of the first element in its line.
    places : ndarray of int64, shape (n,), optional
        The places of the elements, where they are not next to each other.
    """
    form = x.dtype, codes.dtype, family, x.shape[2] == 1, places is not None
    strides = (stride // x.itemsize for stride in x.strides[:2])
    where = 0 if places is None else address_of(places)
    arrays = address_of(x), address_of(codes), address_of(table), where
    call(_emit_add, form, *arrays, *x.shape, *strides, table.shape[1], first)


def _emit_add(
    code: Emitter, block: Block, dtype: np.dtype[Any], codes_dtype: np.dtype[Any], *form: Any
) -> None:
    adder = _Adder(code, block, codes_dtype, *form)
    kinds = kind_of(dtype), adder.kind
    x, table = (block.numbers(word, kind) for word, kind in zip((X, TABLE), kinds, strict=True))
    stride, size = block.integer(OUTER_STRIDE), block.integer(N_SLOTS) * adder.size
    with code.loop(0, block.integer(N_OUTER)) as outer:
        adder.add(x.start(outer * stride), table.start(outer * size))


class _Adder:
    """Adds elements of lines that lie side by side, or of one, to the states of their groups."""

    def __init__(
        self,
        code: Emitter,
        block: Block,
        codes_dtype: np.dtype[Any],
        family: GroupFamily,
        is_line: bool,
        has_places: bool,
    ) -> None:
        self._code, self._family, self._is_line = code, family, is_line
        self.kind = kind_of(family.dtype)
        self._codes = block.numbers(CODES, kind_of(codes_dtype))
        self._n, self._stride, self._first = map(block.integer, (N, STRIDE, FIRST))
        self._width = code.constant(1) if is_line else block.integer(N_INNER)
        self._places = block.numbers(PLACES, WORD) if has_places else None
        self.size = self._width * len(family.start)

    def add(self, x: Numbers, table: Numbers) -> None:
        """Add all elements from `x` on, to states from `table` on."""
        code = self._code

        def add_block(at: Int, length: int) -> None:
            ats = [at + k for k in range(length)]
            if length == 1:
                self._add(x, table, ats)
                return
            found = self._codes.load(at, length)
            is_mixed = code.any(found.differs(found.repeat(length)))
            with code.when(is_mixed):
                for each in ats:
                    self._add(x, table, [each])
            with code.unless(is_mixed):
                self._add(x, table, ats)

        code.in_vectors(self._n, add_block, (_BLOCK, 1) if self._is_line else (1,))

    def _add(self, x: Numbers, table: Numbers, ats: Sequence[Int]) -> None:
        """Add elements of one group."""
        code, slot = self._code, self._code.integer(self._codes.load(ats[0], 1)) + 1
        first = table.start(slot * self.size)
        words = [first.start(self._width * word) for word in range(len(self._family.start))]

        def add_columns(column: Int, some: int) -> None:
            state: Words = [word.load(column, some) for word in words]
            for at in ats:
                state = self._step(state, x.start(at * self._stride).load(column, some), at)
            for word, number in zip(words, state, strict=True):
                word.store(number, column)

        code.in_vectors(self._width, add_columns, (1,) if self._is_line else (_COLUMNS, 1))

    def _step(self, state: Words, x: Vector, at: Int) -> Words:
        count, family = state[0], self._family
        where = (self._first + at).as_vector() if self._places is None else self._places.load(at, 1)
        place = where.widen(count.lane(0)).repeat(count.width)
        new = [count + count.full(1), *family.step(state, x.widen(count), place)]
        if family.skips_nan and x.is_float:
            return [x.equals(x).choose(*pair) for pair in zip(new, state, strict=True)]
        return new


def count_buckets(codes: Array, shift: int, n_buckets: int) -> Array:
    """Return the number of elements of each bucket: of 2^`shift` slots of a table."""
    counts = np.zeros(n_buckets, np.int64)
    call(_emit_buckets, (), 0, address_of(codes), 0, 0, 0, address_of(counts), shift, len(codes))
    return counts


def fill_buckets(
    x: Array,
    codes: Array,
    shift: int,
    ends: Array,
    out: tuple[Array, Array, Array | None],
    first: int,
) -> None:
    """Move elements, their codes, and their places to the ends of their buckets, and advance these.

    Parameters
    ----------
    x : ndarray, shape (n,)
        With any stride.
    codes : ndarray of int64, shape (n,)
    shift : int
        See :func:`count_buckets`.
    ends : ndarray of int64
        The index in `out` of the next element of each bucket.
    out : tuple of ndarray
        Where elements go, their codes, of int32 and relative to their bucket, and their places.
    first : int
        The place of the first element.
    """
    arrays = (0 if each is None else address_of(each) for each in (*out, ends))
    inputs = address_of(x), address_of(codes)
    more = shift, len(codes), x.strides[0] // x.itemsize, first, (1 << shift) - 1
    call(_emit_move, (x.dtype, out[2] is not None), *inputs, *arrays, *more)


def _slot(code: Emitter, block: Block, at: Int) -> Int:
    return code.integer(block.numbers(CODES, WORD).load(at, 1)) + 1


def _emit_buckets(code: Emitter, block: Block) -> None:
    counts, shift = block.numbers(BUCKETS, WORD), block.integer(SHIFT)
    with code.loop(0, block.integer(MORE)) as at:
        add_one(code, counts, _slot(code, block, at) >> shift)


def _emit_move(code: Emitter, block: Block, dtype: np.dtype[Any], has_places: bool) -> None:
    kind, half = kind_of(dtype), kind_of(np.dtype(np.int32))
    x, out = block.numbers(X, kind), block.numbers(OUT_X, kind)
    out_codes, out_places = block.numbers(OUT_CODES, half), block.numbers(OUT_PLACES, WORD)
    ends, shift = block.numbers(BUCKETS, WORD), block.integer(SHIFT)
    n, stride, first, mask = (block.integer(MORE + k) for k in range(4))
    with code.loop(0, n) as at:
        slot = _slot(code, block, at)
        bucket = slot >> shift
        end = add_one(code, ends, bucket)
        out.store(x.load(at * stride, 1), end)
        out_codes.store(((slot & mask) - 1).as_vector(), end)
        if has_places:
            out_places.store((first + at).as_vector(), end)
