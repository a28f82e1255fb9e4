"""Keys packed with positions: the words that are sorted for the indices that sort a line."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels.emitted import RESULT, call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, Numbers, kind_of
from sharedmem.kernels.loops.vectors import VECTOR, Vector

# Kinds of elements. Their keys are unsigned integers in the same order.
UNSIGNED, SIGNED, FLOATING, TIME = range(4)

# The bits of infinity, by the size of floating-point numbers.
_INFINITY = {2: 0x1F << 10, 4: 0xFF << 23, 8: 0x7FF << 52}
_PACKED = kind_of(np.dtype(np.uint64))


def varying_bits(x: Array, first: Any, kind: int) -> int:
    """Return the bits in which the keys of `x`, unsigned integers, differ from that of `first`."""
    bits = call(_emit_varying, (x.dtype, kind), int(first), address_of(x), len(x))
    return bits % 2**64


def pack(
    x: Array,
    order: Array,
    out: Array,
    start: int,
    stop: int,
    digit: tuple[int, int, int],
    kind: int,
) -> None:
    """Pack a digit of each key, in the upper bits, with its position.

    Parameters
    ----------
    x, order : ndarray
        The keys are those of ``x[order]``, or, if `order` is empty, of `x`: unsigned integers.
    out : ndarray of uint64
    start, stop : int
        The positions to pack.
    digit : (shift, mask, n_bits)
        The digit is ``(key >> shift) & mask``, and positions have `n_bits` bits.
    kind : int
        The kind of the elements whose bits `x` are.
    """
    arrays = address_of(x), address_of(order), address_of(out)
    call(_emit_pack, (x.dtype, kind), len(order), *arrays, start, stop, *digit)


def unpack(packed: Array, order: Array, start: int, stop: int, n_bits: int, out: Array) -> None:
    """Write the packed positions, or, if `order` is not empty, ``order[positions]``."""
    arrays = address_of(packed), address_of(order), address_of(out)
    mask = (1 << n_bits) - 1
    call(_emit_unpack, (), len(order), *arrays, start, stop, mask)


def settle(packed: Array, x: Array, start: int, stop: int, n_bits: int, kind: int) -> bool:
    """Sort runs of equal digits by their whole keys; return False if that takes too many moves.

    The runs are those that begin between `start` and `stop`.
    """
    arrays = address_of(x), address_of(packed)
    return bool(call(_emit_settle, (x.dtype, kind), len(packed), *arrays, start, stop, n_bits))


def _keys(x: Numbers, at: Int, width: int, kind: int) -> Vector:
    """Return the keys of elements."""
    return _key(x.load(at, width).convert(WORD.type), x.kind.size, kind)


def _key(bits: Vector, size: int, kind: int) -> Vector:
    """Return keys in the order of NumPy's sorts: NaN and NaT last, -0.0 equal to 0.0."""
    if kind == UNSIGNED:
        return bits
    sign = bits.full(1 << (8 * size - 1))
    turned = bits ^ sign
    if kind == SIGNED:
        return turned
    if kind == TIME:
        return turned - bits.full(1)
    is_negative = (bits & sign).differs(bits.full(0))
    is_nan = is_negative.choose(turned, bits) > bits.full(_INFINITY[size])
    largest = sign | (sign - bits.full(1))
    return is_nan.choose(largest, is_negative.choose(sign - turned, bits | sign))


def _emit_varying(code: Emitter, block: Block, dtype: np.dtype[Any], kind: int) -> None:
    x, n = block.numbers(1, kind_of(dtype)), block.integer(2)
    reference = _key(block.integer(RESULT).as_vector(), dtype.itemsize, kind)
    widths = VECTOR, 1
    varying = {width: code.variable(reference.repeat(width).full(0)) for width in widths}

    def add(at: Int, width: int) -> None:
        differing = _keys(x, at, width, kind) ^ reference.repeat(width)
        varying[width].set(varying[width].get() | differing)

    code.in_vectors(n, add, widths)
    total = varying[1].get()
    for lane in range(VECTOR):
        total = total | varying[VECTOR].get().lane(lane)
    block.counter(RESULT).store(total, code.constant(0))


def _emit_pack(code: Emitter, block: Block, dtype: np.dtype[Any], kind: int) -> None:
    n_order, start, stop = block.integer(0), block.integer(4), block.integer(5)
    x, order = block.numbers(1, kind_of(dtype)), block.numbers(2, WORD)
    out = block.numbers(3, _PACKED)
    shift, mask, n_bits = (block.integer(word).as_vector() for word in range(6, 9))

    def pack_one(place: Int, at: Int, width: int) -> None:
        digit = _keys(x, place, width, kind) >> shift.repeat(width) & mask.repeat(width)
        first = at.as_vector().repeat(width)
        out.store(digit << n_bits.repeat(width) | (first + first.places()), at)

    with code.when(n_order > 0), code.loop(start, stop) as at:
        pack_one(code.integer(order.load(at, 1)), at, 1)
    with code.unless(n_order > 0):
        code.in_vectors(
            stop - start, lambda at, width: pack_one(start + at, start + at, width), (VECTOR, 1)
        )


def _emit_unpack(code: Emitter, block: Block) -> None:
    n_order, start, stop = block.integer(0), block.integer(4), block.integer(5)
    packed, order, out = (
        block.numbers(word, kind) for word, kind in ((1, _PACKED), (2, WORD), (3, WORD))
    )
    mask = block.integer(6).as_vector()

    def unpack_one(at: Int, width: int) -> None:
        out.store(packed.load(start + at, width) & mask.repeat(width), start + at)

    with code.when(n_order > 0), code.loop(start, stop) as at:
        out.store(order.load(code.integer(packed.load(at, 1) & mask), 1), at)
    with code.unless(n_order > 0):
        code.in_vectors(stop - start, unpack_one, (VECTOR, 1))


def _emit_settle(code: Emitter, block: Block, dtype: np.dtype[Any], kind: int) -> None:
    n, start, stop = (block.integer(word) for word in (0, 3, 4))
    x, packed = block.numbers(1, kind_of(dtype)), block.numbers(2, _PACKED)
    n_bits = block.integer(5).as_vector()
    one = packed.full(1, 1)
    mask = (one << n_bits) - one

    def are_equal(a: Int, b: Int) -> Flag:
        """Return whether two digits are equal."""
        digits = [packed.load(place, 1) >> n_bits for place in (a, b)]
        return code.any(digits[0].equals(digits[1]))

    def key_of(word: Vector) -> Vector:
        return _keys(x, code.integer(word & mask), 1, kind)

    moves_left, first = code.variable((stop - start) * 4), code.variable(start)
    with code.repeat() as before:  # runs that began before
        at = first.get()
        before.leave_if(at < 1)
        before.leave_if(at >= stop)
        before.leave_if(~are_equal(at, at - 1))
        first.set(at + 1)
    place = code.variable(first.get() + 1)
    with code.repeat() as words:
        at, run = place.get(), first.get()
        words.leave_if(run >= stop)
        words.leave_if(at >= n)
        is_in_run = are_equal(at, run)
        with code.when(is_in_run):
            word = packed.load(at, 1)
            key = key_of(word)
            to = code.variable(at)
            with code.repeat() as moves:
                end = to.get()
                moves.leave_if(end < run + 1)
                other = packed.load(end - 1, 1)
                moves.leave_if(code.any(key_of(other) <= key))
                packed.store(other, end)
                to.set(end - 1)
            packed.store(word, to.get())
            moves_left.set(moves_left.get() - (at - to.get()))
        with code.unless(is_in_run):
            first.set(at)
        words.leave_if(moves_left.get() < 0)
        place.set(at + 1)
    block.counter(RESULT).store((moves_left.get() < 0).choose(0, 1).as_vector(), code.constant(0))
