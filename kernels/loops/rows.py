"""The kernel that reduces lines of contiguous elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sharedmem.kernels.loops import lines
from sharedmem.kernels.loops.emit import Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import LANES, copy_lanes, starter, turn
from sharedmem.kernels.loops.lines import Form, Kernel, Team
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.vectors import VECTOR

# Lines that are not LONG are reduced in NARROW lanes, which are folded for a BATCH of lines
# together.
NARROW = 16
BATCH = 64
LONG = 1024
# Lines shorter than this are transposed in batches, to be reduced side by side.
SHORT = 32


def emit_rows(forms: Sequence[Form]) -> list[str]:
    """Return the kernel, in LLVM's language: its block is described in `loops.lines`."""
    kernel = Kernel(forms)
    code = kernel.code
    reducers = [_batch_reducer(team) for team in kernel.teams]
    n_outer, outer_stride, n, longest, batch = kernel.integers(
        lines.N_OUTER, lines.OUTER_STRIDE, lines.N, lines.LENGTH, lines.SIDE
    )
    pitch = batch.up_to(VECTOR)
    shapes = []
    for form in forms:
        states = form.state, form.family.n_parts
        shapes += [
            (*states, code.constant(LANES)),
            (*states, batch * NARROW),
            (*states, pitch * NARROW),
            (form.state, form.family.n_scratch, code.constant(LANES)),
            (form.x, 1, pitch * SHORT),
        ]
    tables = iter(kernel.tables(*shapes))
    rooms = dict(zip(kernel.members, zip(*5 * [tables], strict=True), strict=True))
    with kernel.claims() as (first, stop), code.loop(first, stop, batch) as at:
        done = at // n_outer * longest
        start = at % n_outer * outer_stride + done
        length, n_lines = longest.least(n - done), batch.least(stop - at)
        for team, reduce_batch in zip(kernel.teams, reducers, strict=True):
            xs = [x.start(start) for x in team.xs]
            room = zip(*(rooms[member] for member in team.members), strict=True)
            code.call(reduce_batch, xs, outer_stride, length, n_lines, *room)
        for member in kernel.members:
            _, _, sides, *_ = rooms[member]
            with code.when(member.has_states):
                code.call(copy_lanes, sides, n_lines, member.state.start(at))
            with code.unless(member.has_states):
                member.finish(sides, n_lines, at)
    return kernel.texts()


def _batch_reducer(team: Team) -> Callable[..., None]:
    """Return what reduces a few lines of contiguous elements to the states in `sides`."""
    clear, reduce_line = starter([0]), _line_reducer(team)

    def reduce_batch(
        code: Emitter, xs: Sequence[Numbers], outer_stride: Int, n: Int, n_lines: Int,
        wide: Sequence[Table], lanes: Sequence[Table], sides: Sequence[Table],
        scratch: Sequence[Table], turned: Sequence[Table],
    ) -> None:  # fmt: skip
        zero, narrow = code.constant(0), code.constant(NARROW)
        n_wide = code.constant(0)
        if team.n_lanes > NARROW:
            n_wide = (n >= LONG).choose(n // team.n_lanes, 0)
        in_wide = n_wide * team.n_lanes
        n_narrow = (n >= SHORT).choose((n - in_wide) // NARROW, 0)
        in_lanes = in_wide + n_narrow * NARROW
        pitch = n_lines.up_to(VECTOR)

        with code.when(in_lanes > 0):
            team.start_lanes(code, lanes, n_lines * NARROW)
            with code.loop(0, n_lines) as line:
                rows = [x.start(line * outer_stride) for x in xs]
                code.call(reduce_line, rows, n_wide, n_narrow, lanes, line * NARROW, wide, scratch)
            for one, side in zip(lanes, sides, strict=True):
                for lane, turned_lane in zip(one.rows(), side.rows(), strict=True):
                    code.call(turn, lane, narrow, narrow, n_lines, turned_lane, n_lines)
            team.fold_lanes(code, sides, n_lines * NARROW, n_lines)
        with code.unless(in_lanes > 0):
            team.start_lanes(code, sides, pitch)
        rest = n - in_lanes
        with code.when(rest > 0):
            with code.when(n_lines < pitch):  # no lane adds what is in the memory by chance
                for table in turned:
                    code.call(clear, table, rest * pitch)
            rows = [table.row(0) for table in turned]
            for x, row in zip(xs, rows, strict=True):
                code.call(turn, x.start(in_lanes), outer_stride, rest, n_lines, row, pitch)
            code.call(team.add_rows, rows, rest, pitch, sides, zero, pitch, scratch)

    return reduce_batch


def _line_reducer(team: Team) -> Callable[..., None]:
    """Return what reduces a line to NARROW lanes."""

    def reduce_line(
        code: Emitter, xs: Sequence[Numbers], n_wide: Int, n_narrow: Int, lanes: Sequence[Table],
        at: Int, wide: Sequence[Table], scratch: Sequence[Table],
    ) -> None:  # fmt: skip
        narrow = code.constant(NARROW)
        if team.n_lanes > NARROW:
            with code.when(n_wide > 0):
                width, zero = code.constant(team.n_lanes), code.constant(0)
                team.start_lanes(code, wide, width)
                code.call(team.add_rows, xs, n_wide, width, wide, zero, width, scratch)
                team.fold_lanes(code, wide, width, narrow)
                for one, lane in zip(wide, lanes, strict=True):
                    code.call(copy_lanes, one, narrow, lane.start(at))
        rest = [x.start(n_wide * team.n_lanes) for x in xs]
        code.call(team.add_rows, rest, n_narrow, narrow, lanes, at, narrow, scratch)

    return reduce_line
