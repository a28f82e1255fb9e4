"""Elements and indices selected by a mask, of which parts are written independently."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sharedmem.kernels.emitted import RESULT, call
from sharedmem.kernels.loops.emit import Block, Emitter, Variable
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import BYTE, WORD, Numbers, kind_of
from sharedmem.kernels.loops.vectors import VECTOR, Vector

# The number of elements of a mask that are skipped together if none of them is set.
RUN = 32
# Elements of these sizes are copied as unsigned integers.
WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def count(mask: Array) -> int:
    """Return the number of nonzero elements of a mask."""
    return call(_emit_count, (), 0, address_of(mask), len(mask))


def keep(mask: Array, x: Array, out: Array) -> None:
    """Write the elements that the mask selects to `out`, which has exactly that size."""
    arrays = address_of(mask), address_of(x), address_of(out)
    call(_emit_keep, (x.itemsize,), *arrays, len(mask), len(out))


def locate(mask: Array, first: int, shape: tuple[int, ...], out: Array) -> None:
    """Write the indices that a part of a mask selects, those of one axis to each row of `out`.

    Parameters
    ----------
    mask : ndarray
        Part of the flat mask.
    first : int
        The flat index of its first element.
    shape : tuple of int
        The shape of the whole mask.
    out : ndarray of int64, shape (n_axes, n_selected)
        Each row is contiguous.
    """
    index, extents = (np.array(each, np.int64) for each in (np.unravel_index(first, shape), shape))
    arrays = (address_of(each) for each in (mask, out, index, extents))
    sizes = len(mask), out.shape[1], out.strides[0] // out.itemsize, len(shape) - 1
    call(_emit_locate, (), *arrays, *sizes)


def _emit_count(code: Emitter, block: Block) -> None:
    mask, total = block.numbers(1, BYTE), code.variable(code.constant(0))

    def add(at: Int, width: int) -> None:
        total.set(total.get() + code.lanes(_are_set(mask, at, width)).count_bits())

    code.in_vectors(block.integer(2), add, (RUN, 1))
    block.counter(RESULT).store(total.get().as_vector(), code.constant(0))


def _are_set(mask: Numbers, at: Int, width: int) -> Vector:
    return mask.load(at, width).differs(mask.full(0, width))


def _select(
    code: Emitter, mask: Numbers, n: Int, value: Callable[[Int], Vector], out: Numbers, room: Int,
    place: Variable,
) -> None:  # fmt: skip
    """Write the values that a mask selects to `out`, from a place, which is advanced.

    A value that is not selected is overwritten by the next one: there is no branch, which would be
    mispredicted for every second element of a random mask.
    """

    def write(at: Int) -> None:
        out.store(value(at), place.get())
        place.set(place.get() + code.lanes(_are_set(mask, at, 1)))

    def write_near_end(first: Int, stop: Int) -> None:
        with code.loop(first, stop) as at:
            is_set = code.any(_are_set(mask, at, 1)) & (place.get() < room)
            with code.when(is_set):
                write(at)

    whole = n // RUN * RUN
    with code.loop(0, whole, RUN) as first, code.when(code.any(_are_set(mask, first, RUN))):
        has_room = place.get() < room - (RUN - 1)
        with code.when(has_room):
            for lane in range(RUN):
                write(first + lane)
        with code.unless(has_room):
            write_near_end(first, first + RUN)
    has_room = place.get() < room - (n - whole - 1)
    with code.when(has_room), code.loop(whole, n) as at:
        write(at)
    with code.unless(has_room):
        write_near_end(whole, n)


def _fill(code: Emitter, out: Numbers, n: Int, number: Vector) -> None:
    code.in_vectors(n, lambda at, width: out.store(number.repeat(width), at), (VECTOR, 1))


def _emit_keep(code: Emitter, block: Block, itemsize: int) -> None:
    word = kind_of(np.dtype(f"u{itemsize}"))
    mask, x, out = (block.numbers(at, kind) for at, kind in enumerate((BYTE, word, word)))
    n, room, place = block.integer(3), block.integer(4), code.variable(code.constant(0))
    _select(code, mask, n, lambda at: x.load(at, 1), out, room, place)


def _emit_locate(code: Emitter, block: Block) -> None:
    mask, out, index, extents = (
        block.numbers(at, kind) for at, kind in enumerate((BYTE, WORD, WORD, WORD))
    )
    n, room, stride, last = (block.integer(at) for at in range(4, 8))

    def get(numbers: Numbers, axis: Int) -> Int:
        return code.integer(numbers.load(axis, 1))

    def move(axis: Int, to: Int) -> None:
        index.store(to.as_vector(), axis)

    done, place = (code.variable(code.constant(0)) for _ in range(2))
    with code.repeat() as rows:
        first, before, inner = done.get(), place.get(), get(index, last)
        rows.leave_if(first >= n)
        stop = n.least(first + get(extents, last) - inner)
        row, target = mask.start(first), out.start(stride * last)
        _select(code, row, stop - first, lambda at: (inner + at).as_vector(), target, room, place)
        with code.loop(0, last) as axis:
            target, number = out.start(stride * axis + before), index.load(axis, 1)

            def fill(
                at: Int, width: int, target: Numbers = target, number: Vector = number
            ) -> None:
                target.store(number.repeat(width), at)

            code.in_vectors(place.get() - before, fill, (VECTOR, 1))
        done.set(stop)
        move(last, code.constant(0))
        outer = code.variable(last - 1)
        with code.repeat() as carries:
            axis = outer.get()
            carries.leave_if(axis < 0)
            following = get(index, axis) + 1
            move(axis, following)
            carries.leave_if(following < get(extents, axis))
            move(axis, code.constant(0))
            outer.set(axis - 1)
