"""The kernel that reduces lines of contiguous elements."""

from __future__ import annotations

from collections.abc import Callable

from sharedmem.kernels.loops import lines
from sharedmem.kernels.loops.emit import Emitter, entry
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import LANES, copy_lanes, starter, turner
from sharedmem.kernels.loops.lines import Form, Lines, fold_lanes
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.vectors import VECTOR

# Lines that are not LONG are reduced in NARROW lanes, which are folded for a BATCH of lines
# together.
NARROW = 16
BATCH = 64
LONG = 1024
# Lines shorter than this are transposed in batches, to be reduced side by side.
SHORT = 32


def emit_rows(form: Form) -> str:
    """Return the kernel, in LLVM's language: its block is described in `loops.lines`."""
    code = entry()
    kernel = Lines(code, form)
    reduce_batch = _batch_reducer(form, kernel.fold)
    n_outer, outer_stride, n, longest, batch = (
        kernel.block.integer(word)
        for word in (lines.N_OUTER, lines.OUTER_STRIDE, lines.N, lines.LENGTH, lines.SIDE)
    )
    pitch = batch.up_to(VECTOR)
    states = form.state, form.family.n_parts
    wide, lanes, sides, scratch, turned = kernel.tables(
        (*states, code.constant(LANES)),
        (*states, batch * NARROW),
        (*states, pitch * NARROW),
        (form.state, form.family.n_scratch, code.constant(LANES)),
        (form.x, 1, pitch * SHORT),
    )
    with kernel.claims() as (first, stop), code.loop(first, stop, batch) as at:
        done = at // n_outer * longest
        x = kernel.x.start(at % n_outer * outer_stride + done)
        length, n_lines = longest.least(n - done), batch.least(stop - at)
        room = wide, lanes, sides, scratch, turned
        code.call(reduce_batch, x, outer_stride, length, n_lines, *room)

        with code.when(kernel.has_states):
            code.call(copy_lanes, sides, n_lines, kernel.state.start(at))
        with code.unless(kernel.has_states):
            kernel.finish(sides, n_lines, at)
    return str(code.module)


def _batch_reducer(form: Form, fold: Callable[..., None]) -> Callable[..., None]:
    """Return what reduces a few lines of contiguous elements to the states in `sides`."""
    family, start_lanes, clear = form.family, starter(form.identity), starter([0])
    reduce_line = _line_reducer(form, fold, start_lanes)
    turn_lanes, turn_elements = turner(), turner()

    def reduce_batch(
        code: Emitter, x: Numbers, outer_stride: Int, n: Int, n_lines: Int, wide: Table,
        lanes: Table, sides: Table, scratch: Table, turned: Table,
    ) -> None:  # fmt: skip
        zero, narrow = code.constant(0), code.constant(NARROW)
        n_wide = code.constant(0)
        if family.n_lanes > NARROW:
            n_wide = (n >= LONG).choose(n // family.n_lanes, 0)
        in_wide = n_wide * family.n_lanes
        n_narrow = (n >= SHORT).choose((n - in_wide) // NARROW, 0)
        in_lanes = in_wide + n_narrow * NARROW
        pitch = n_lines.up_to(VECTOR)

        with code.when(in_lanes > 0):
            code.call(start_lanes, lanes, n_lines * NARROW)
            with code.loop(0, n_lines) as line:
                row = x.start(line * outer_stride)
                code.call(reduce_line, row, n_wide, n_narrow, lanes, line * NARROW, wide, scratch)
            for lane, side in zip(lanes.rows(), sides.rows(), strict=True):
                code.call(turn_lanes, lane, narrow, narrow, n_lines, side, n_lines)
            fold_lanes(code, fold, sides, n_lines * NARROW, n_lines)
        with code.unless(in_lanes > 0):
            code.call(start_lanes, sides, pitch)
        rest = n - in_lanes
        with code.when(rest > 0):
            with code.when(n_lines < pitch):  # no lane adds what is in the memory by chance
                code.call(clear, turned, rest * pitch)
            (row,) = turned.rows()
            code.call(turn_elements, x.start(in_lanes), outer_stride, rest, n_lines, row, pitch)
            code.call(family.add_rows, row, rest, pitch, sides, zero, pitch, scratch)

    return reduce_batch


def _line_reducer(
    form: Form, fold: Callable[..., None], start_lanes: Callable[..., None]
) -> Callable[..., None]:
    """Return what reduces a line to NARROW lanes."""
    family = form.family

    def reduce_line(
        code: Emitter, x: Numbers, n_wide: Int, n_narrow: Int, lanes: Table, at: Int, wide: Table,
        scratch: Table,
    ) -> None:  # fmt: skip
        narrow = code.constant(NARROW)
        if family.n_lanes > NARROW:
            with code.when(n_wide > 0):
                width, zero = code.constant(family.n_lanes), code.constant(0)
                code.call(start_lanes, wide, width)
                code.call(family.add_rows, x, n_wide, width, wide, zero, width, scratch)
                fold_lanes(code, fold, wide, width, narrow)
                code.call(copy_lanes, wide, narrow, lanes.start(at))
        rest = x.start(n_wide * family.n_lanes)
        code.call(family.add_rows, rest, n_narrow, narrow, lanes, at, narrow, scratch)

    return reduce_line
