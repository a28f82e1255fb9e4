"""Reductions of groups: elements are added, in order, to the states of their groups in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.extrema import identity_of, larger, smaller
from sharedmem.kernels.loops.emit import Block, Emitter, add_one
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, Numbers, kind_of
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.reduction import State
from sharedmem.kernels.sums import two_sum
from sharedmem.kernels.variances import variance

# The words of the block of a kernel that adds elements to states.
X, CODES, TABLE, PLACES, N_OUTER, N, N_INNER, OUTER_STRIDE, STRIDE, N_SLOTS, FIRST = range(11)
# The words of the block of a kernel that puts elements into buckets: the first two are as above.
OUT_X, OUT_CODES, OUT_PLACES, BUCKETS, SHIFT, MORE = range(2, 8)

# Elements whose groups are compared: if all are of one group, its state stays in registers. A state
# that was just stored takes long to load.
_BLOCK = 8
# Columns whose states are in registers together.
_COLUMNS = 8

Words = Sequence[Vector]


class GroupFamily(NamedTuple):
    """The formulas by which elements are added to the state of their group.

    Attributes
    ----------
    name : str
    dtype : dtype
        The type of the words of a state, of which the first is the number of elements.
    start : tuple of float
        The state of no elements.
    step : callable
        ``step(state, x, place)`` adds an element, whose place in its line is known; it returns the
        words after the first.
    combine : callable
        ``combine(a, b)`` returns the state of two neighboring pieces, neither of which is empty.
    skips_nan : bool
        Whether elements that are NaN are left out.
    settle : callable, optional
        ``settle(state)`` returns the state of a piece as `combine` takes it.
    """

    name: str
    dtype: np.dtype[Any]
    start: tuple[float, ...]
    step: Callable[[Words, Vector, Vector], Words]
    combine: Callable[[State, State], State]
    skips_nan: bool = False
    settle: Callable[[State], State] | None = None

    def __repr__(self) -> str:
        """Return what machine code depends on."""
        return f"{self.name} {self.dtype} {self.skips_nan}"

    def combined(self, a: State, b: State) -> State:
        """Return the state of two neighboring pieces, of which one may be empty."""
        both = self.combine(a, b)
        for one, other in ((a, b), (b, a)):
            if not one[0].all():
                pairs = zip(other, both, strict=True)
                both = tuple(np.where(one[0] == 0, word, joint) for word, joint in pairs)
        return both


def new_table(family: GroupFamily, n_outer: int, n_slots: int, n_inner: int) -> Array:
    """Return a table of states of no elements, of shape (n_outer, n_slots, n_words, n_inner)."""
    start = np.array(family.start, family.dtype)
    table = np.empty((n_outer, n_slots, len(start), n_inner), family.dtype)
    table[...] = start[:, None]
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
    code: Emitter,
    block: Block,
    dtype: np.dtype[Any],
    codes_dtype: np.dtype[Any],
    family: GroupFamily,
    is_line: bool,
    has_places: bool,
) -> None:
    n_words = len(family.start)
    codes, places = block.numbers(CODES, kind_of(codes_dtype)), block.numbers(PLACES, WORD)
    n_outer, n, n_inner = (block.integer(word) for word in (N_OUTER, N, N_INNER))
    outer_stride, stride, n_slots = (block.integer(w) for w in (OUTER_STRIDE, STRIDE, N_SLOTS))
    first, like = block.integer(FIRST), block.numbers(TABLE, kind_of(family.dtype)).full(0, 1)
    width = code.constant(1) if is_line else n_inner

    def place_of(at: Int) -> Vector:
        return places.load(at, 1) if has_places else (first + at).as_vector()

    def stepped(state: Words, row: Numbers, at: Int, column: Int, some: int) -> Words:
        x = row.load(column, some)
        place = place_of(at).widen(like).repeat(some)
        new = [state[0] + state[0].full(1), *family.step(state, x.widen(state[0]), place)]
        if family.skips_nan and x.is_float:
            return [x.equals(x).choose(*pair) for pair in zip(new, state, strict=True)]
        return new

    with code.loop(0, n_outer) as outer:
        x = block.numbers(X, kind_of(dtype)).start(outer * outer_stride)
        size = n_slots * n_words * width
        table = block.numbers(TABLE, kind_of(family.dtype)).start(outer * size)

        def add(ats: Sequence[Int], x: Numbers = x, table: Numbers = table) -> None:
            """Add elements of one group."""
            slot = code.integer(codes.load(ats[0], 1)) + 1
            states = table.start(slot * n_words * width)

            def add_some(column: Int, some: int) -> None:
                words = [states.start(width * word) for word in range(n_words)]
                state: Words = [word.load(column, some) for word in words]
                for at in ats:
                    state = stepped(state, x.start(at * stride), at, column, some)
                for word, number in zip(words, state, strict=True):
                    word.store(number, column)

            if is_line:
                add_some(code.constant(0), 1)
            else:
                code.in_vectors(width, add_some, (_COLUMNS, 1))

        def add_block(at: Int, length: int, add: Any = add) -> None:
            ats = [at + k for k in range(length)]
            if length == 1:
                add(ats)
                return
            found = codes.load(at, length)
            is_mixed = code.any(found.differs(found.repeat(length)))
            with code.when(is_mixed):
                for each in ats:
                    add([each])
            with code.unless(is_mixed):
                add(ats)

        code.in_vectors(n, add_block, (_BLOCK, 1) if is_line else (1,))


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


@lru_cache
def counting(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that counts elements."""
    return GroupFamily("count", dtype, (0,), _none, _combine_none, skips_nan)


@lru_cache
def summing(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that adds elements; of floats, the rounding errors, too."""
    if dtype.kind == "f":
        return GroupFamily("sum", dtype, (0, 0, 0), _add, _combine_sums, skips_nan)
    return GroupFamily("sum", dtype, (0, 0), _add_integer, _combine_integers)


@lru_cache
def multiplying(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that multiplies elements."""
    return GroupFamily("product", dtype, (0, 1), _multiply, _combine_products, skips_nan)


@lru_cache
def squaring(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family of the sum of squares about the mean; it is the last part of a state."""
    start = (0,) * 6
    combine = variance(dtype, dtype).combine
    return GroupFamily("squares", dtype, start, _square, combine, skips_nan, _about_mean)


@lru_cache
def extreme(dtype: np.dtype[Any], finds_least: bool, skips_nan: bool) -> GroupFamily:
    """Return the family that finds the smallest or the largest element."""
    start, name = identity_of(dtype)[not finds_least], "least" if finds_least else "greatest"
    better: Any = smaller if finds_least else larger

    def step(state: Words, x: Vector, place: Vector) -> Words:
        return [better(state[1], x)]

    def combine(a: State, b: State) -> State:
        ufunc = np.minimum if finds_least else np.maximum
        return a[0] + b[0], ufunc(a[1], b[1])

    return GroupFamily(name, dtype, (0, start), step, combine, skips_nan)


@lru_cache
def locating(dtype: np.dtype[Any], finds_least: bool, skips_nan: bool) -> GroupFamily:
    """Return the family that finds the place of the first of the smallest or largest elements."""
    name = "place-of-least" if finds_least else "place-of-greatest"

    def step(state: Words, x: Vector, place: Vector) -> Words:
        best = state[1]
        is_better = x < best if finds_least else x > best
        if x.is_float:  # the first NaN is better than all numbers
            is_better = is_better | (best.equals(best) & x.differs(x))
        is_better = is_better | _is_empty(state)
        return [is_better.choose(x, best), is_better.choose(place, state[2])]

    def combine(a: State, b: State) -> State:
        is_better = b[1] < a[1] if finds_least else b[1] > a[1]
        is_better = is_better | ((a[1] == a[1]) & (b[1] != b[1]))
        pairs = zip(b[1:], a[1:], strict=True)
        return a[0] + b[0], *(np.where(is_better, later, earlier) for later, earlier in pairs)

    return GroupFamily(name, dtype, (0, 0, 0), step, combine, skips_nan)


@lru_cache
def first(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that finds the place of the first element."""
    return GroupFamily("first", dtype, (0, 0), _first, _combine_firsts, skips_nan)


@lru_cache
def last(dtype: np.dtype[Any], skips_nan: bool) -> GroupFamily:
    """Return the family that finds the place of the last element."""
    return GroupFamily("last", dtype, (0, 0), _last, _combine_lasts, skips_nan)


@lru_cache
def counting_nonzero(dtype: np.dtype[Any]) -> GroupFamily:
    """Return the family that counts the elements that are not zero; NaN is not."""
    return GroupFamily("nonzero", dtype, (0, 0), _count_nonzero, _combine_integers)


def _none(state: Words, x: Vector, place: Vector) -> Words:
    return []


def _combine_none(a: State, b: State) -> State:
    return (a[0] + b[0],)


def _add_integer(state: Words, x: Vector, place: Vector) -> Words:
    return [state[1] + x]


def _combine_integers(a: State, b: State) -> State:
    return a[0] + b[0], a[1] + b[1]


def _add(state: Words, x: Vector, place: Vector) -> Words:
    total, error = two_sum(state[1], x)
    return [total, state[2] + error]


def _combine_sums(a: State, b: State) -> State:
    total, error = two_sum(a[1], b[1])
    return a[0] + b[0], total, a[2] + (b[2] + error)


def _multiply(state: Words, x: Vector, place: Vector) -> Words:
    return [state[1] * x]


def _combine_products(a: State, b: State) -> State:
    return a[0] + b[0], a[1] * b[1]


def _is_empty(state: Words) -> Vector:
    return state[0].equals(state[0].full(0))


def _square(state: Words, x: Vector, place: Vector) -> Words:
    _, center, total, lost, squares, lost_squares = state
    # The first element: how far it is from the mean is one of the deviations.
    center = _is_empty(state).choose(x, center)
    deviation = x - center
    total, error = two_sum(total, deviation)
    squares, more_error = two_sum(squares, deviation * deviation)
    return [center, total, lost + error, squares, lost_squares + more_error]


def _about_mean(state: State) -> State:
    """Return the count, the sum, its rounding error, and the sum of squares about the mean."""
    count, center, total, lost, squares, lost_squares = state
    n = np.maximum(count, 1)
    deviations = _settled(total, lost)
    found = _settled(squares, lost_squares) - deviations * (deviations / n)
    found = np.where(squares == np.inf, np.where(np.isfinite(total), np.inf, np.nan), found)
    return count, center * n, lost, found


def _settled(total: Array, lost: Array) -> Array:
    return np.where(np.isfinite(lost), total + lost, total)


def _first(state: Words, x: Vector, place: Vector) -> Words:
    return [_is_empty(state).choose(place, state[1])]


def _combine_firsts(a: State, b: State) -> State:
    return a[0] + b[0], a[1]


def _last(state: Words, x: Vector, place: Vector) -> Words:
    return [place]


def _combine_lasts(a: State, b: State) -> State:
    return a[0] + b[0], b[1]


def _count_nonzero(state: Words, x: Vector, place: Vector) -> Words:
    return [state[1] + x.differs(x.full(0)).ones(x).widen(x)]
