"""The kernel that reduces columns: lines that lie side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sharedmem.kernels.loops import lines
from sharedmem.kernels.loops.emit import Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import LANES, copy_lanes
from sharedmem.kernels.loops.lines import Form, Kernel, Team
from sharedmem.kernels.loops.memory import Numbers, Table


def emit_columns(forms: Sequence[Form]) -> list[str]:
    """Return the kernel, in LLVM's language: its block is described in `loops.lines`."""
    kernel = Kernel(forms)
    code = kernel.code
    reducers = []
    for team in kernel.teams:
        reduce_block = _block_reducer(team)
        reducers.append((reduce_block, _few_reducer(team, reduce_block)))
    n_outer, outer_stride, n, stride, n_inner, height, side, n_groups = kernel.integers(
        lines.N_OUTER, lines.OUTER_STRIDE, lines.N, lines.STRIDE, lines.N_INNER, lines.LENGTH,
        lines.SIDE, lines.GROUPS,
    )  # fmt: skip
    length = (side >= LANES).choose(side, LANES)
    heights = [(form, (form.family.n_parts, form.family.n_scratch)) for form in forms]
    shapes = [(form.state, rows, length) for form, both in heights for rows in both]
    tables = iter(kernel.tables(*shapes))
    rooms = dict(zip(kernel.members, zip(tables, tables, strict=True), strict=True))
    n_blocks = (n_inner + side - 1) // side
    with kernel.claims() as (first, stop), code.loop(first, stop) as task:
        piece, left = task // n_blocks, task % n_blocks * side
        done = piece // n_outer * height
        start = piece % n_outer * outer_stride + done * stride + left
        rows, width, at = height.least(n - done), side.least(n_inner - left), piece * n_inner + left
        is_few = n_groups > 1
        for team, (reduce_block, reduce_few) in zip(kernel.teams, reducers, strict=True):
            xs = [x.start(start) for x in team.xs]
            lanes, scratch = zip(*(rooms[member] for member in team.members), strict=True)
            states = [member.state.start(at) for member in team.members]
            has_states = team.members[0].has_states
            with code.when(is_few):
                code.call(reduce_few, xs, rows, n_inner, n_groups, lanes, scratch)
                with code.when(has_states):
                    for lane, state in zip(lanes, states, strict=True):
                        code.call(copy_lanes, lane, n_inner, state)
            with code.unless(is_few):
                pairs = zip(states, lanes, strict=True)
                targets = [state.where(has_states, lane) for state, lane in pairs]
                code.call(reduce_block, xs, rows, stride, width, targets, scratch)
            with code.unless(has_states):
                for member, lane in zip(team.members, lanes, strict=True):
                    member.finish(lane, width, at)
    return kernel.texts()


def _block_reducer(team: Team) -> Callable[..., None]:
    """Return what reduces columns to states."""

    def reduce_block(
        code: Emitter, xs: Sequence[Numbers], n: Int, stride: Int, width: Int,
        states: Sequence[Table], scratch: Sequence[Table],
    ) -> None:  # fmt: skip
        team.start_lanes(code, states, width)
        with code.loop(0, n, team.n_rows) as row, code.loop(0, width, team.width) as column:
            some, some_rows = (width - column).least(team.width), (n - row).least(team.n_rows)
            parts = [x.start(row * stride + column) for x in xs]
            code.call(team.add_rows, parts, some_rows, stride, states, column, some, scratch)

    return reduce_block


def _few_reducer(team: Team, reduce_block: Callable[..., None]) -> Callable[..., None]:
    """Return what reduces so few columns that several rows fill the lanes."""

    def reduce_few(
        code: Emitter, xs: Sequence[Numbers], n: Int, n_inner: Int, n_groups: Int,
        lanes: Sequence[Table], scratch: Sequence[Table],
    ) -> None:  # fmt: skip
        groups = code.variable(n_groups)
        with code.repeat() as loop:  # of the last piece, which may be short, as of a line so long
            loop.leave_if((n // 8).greatest(1) >= groups.get())
            groups.set(groups.get() // 2)
        zero, width = code.constant(0), groups.get() * n_inner
        rows = n // groups.get()
        code.call(reduce_block, xs, rows, width, width, lanes, scratch)
        rest = n * n_inner - rows * width
        with code.when(rest > 0):
            last, one = [x.start(rows * width) for x in xs], code.constant(1)
            code.call(team.add_rows, last, one, width, lanes, zero, rest, scratch)
        team.fold_lanes(code, lanes, width, n_inner)

    return reduce_few
