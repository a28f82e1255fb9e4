"""The kernel that reduces columns: lines that lie side by side."""

from __future__ import annotations

from collections.abc import Callable

from sharedmem.kernels.loops import lines
from sharedmem.kernels.loops.emit import Emitter, entry
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import LANES, copy_lanes, starter
from sharedmem.kernels.loops.lines import Form, Lines, fold_lanes
from sharedmem.kernels.loops.memory import Numbers, Table


def emit_columns(form: Form) -> str:
    """Return the kernel, in LLVM's language: its block is described in `loops.lines`."""
    code = entry()
    kernel = Lines(code, form)
    reduce_block = _block_reducer(form)
    reduce_few = _few_reducer(form, kernel.fold, reduce_block)
    n_outer, outer_stride, n, stride, n_inner, height, side, n_groups = (
        kernel.block.integer(word)
        for word in (
            lines.N_OUTER, lines.OUTER_STRIDE, lines.N, lines.STRIDE, lines.N_INNER, lines.LENGTH,
            lines.SIDE, lines.GROUPS,
        )
    )  # fmt: skip
    length = (side >= LANES).choose(side, LANES)
    lanes, scratch = kernel.tables(
        (form.state, form.family.n_parts, length), (form.state, form.family.n_scratch, length)
    )
    n_blocks = (n_inner + side - 1) // side
    with kernel.claims() as (first, stop), code.loop(first, stop) as task:
        piece, left = task // n_blocks, task % n_blocks * side
        done = piece // n_outer * height
        x = kernel.x.start(piece % n_outer * outer_stride + done * stride + left)
        rows, width, at = height.least(n - done), side.least(n_inner - left), piece * n_inner + left
        states, is_few = kernel.state.start(at), n_groups > 1
        with code.when(is_few):
            code.call(reduce_few, x, rows, n_inner, n_groups, lanes, scratch)
            with code.when(kernel.has_states):
                code.call(copy_lanes, lanes, n_inner, states)
        with code.unless(is_few):
            target = states.where(kernel.has_states, lanes)
            code.call(reduce_block, x, rows, stride, width, target, scratch)
        with code.unless(kernel.has_states):
            kernel.finish(lanes, width, at)
    return str(code.module)


def _block_reducer(form: Form) -> Callable[..., None]:
    """Return what reduces columns to states."""
    family, start_lanes = form.family, starter(form.identity)

    def reduce_block(
        code: Emitter, x: Numbers, n: Int, stride: Int, width: Int, state: Table, scratch: Table
    ) -> None:
        code.call(start_lanes, state, width)
        with code.loop(0, n, family.n_rows) as row, code.loop(0, width, family.width) as column:
            some, some_rows = (width - column).least(family.width), (n - row).least(family.n_rows)
            part = x.start(row * stride + column)
            code.call(family.add_rows, part, some_rows, stride, state, column, some, scratch)

    return reduce_block


def _few_reducer(
    form: Form, fold: Callable[..., None], reduce_block: Callable[..., None]
) -> Callable[..., None]:
    """Return what reduces so few columns that several rows fill the lanes."""

    def reduce_few(
        code: Emitter, x: Numbers, n: Int, n_inner: Int, n_groups: Int, lanes: Table, scratch: Table
    ) -> None:
        groups = code.variable(n_groups)
        with code.repeat() as loop:  # of the last piece, which may be short, as of a line so long
            loop.leave_if((n // 8).greatest(1) >= groups.get())
            groups.set(groups.get() // 2)
        zero, width = code.constant(0), groups.get() * n_inner
        rows = n // groups.get()
        code.call(reduce_block, x, rows, width, width, lanes, scratch)
        rest = n * n_inner - rows * width
        with code.when(rest > 0):
            row, one = x.start(rows * width), code.constant(1)
            code.call(form.family.add_rows, row, one, width, lanes, zero, rest, scratch)
        fold_lanes(code, fold, lanes, width, n_inner)

    return reduce_few
