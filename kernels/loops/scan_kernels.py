"""The kernels of scans: of rows, of columns, and of a line that threads share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sharedmem.kernels.loops.chains import (
    CHAINS,
    GRAIN,
    N_CHUNKS,
    NEXT,
    READY,
    STARTS,
    STRIDE,
    SUM,
    WIDTH,
    ScanKernel,
    Step,
    reduce_chain,
    scan_chain,
    scan_four,
    table,
)
from sharedmem.kernels.loops.emit import CACHE_LINE, Emitter, Variable
from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.vectors import Vector

# The number of columns that are scanned side by side, row by row.
COLUMNS = 512
# How often a thread tests whether the start of its chunk is known before it yields.
_LOOKS = 1000
# Sums below this do not overflow, however they are rounded.
_LARGE = 1e308


def emit_rows(step: Step, dtype: np.dtype[Any]) -> str:
    """Return the kernel that scans lines of contiguous elements."""
    scan = ScanKernel(step, dtype)
    code, n = scan.code, scan.n
    states = table(code, scan.state, step.n_parts, CHAINS)
    in_fours = scan.n_lines // CHAINS * CHAINS
    with code.loop(0, in_fours, CHAINS) as at:
        states.store(scan.identity(CHAINS), code.constant(0))
        scan_four(code, step, scan.x.start(at * n), scan.out.start(at * n), n, n, states)
    with code.loop(in_fours, scan.n_lines) as at:
        states.store(scan.identity(1), code.constant(0))
        x, out = scan.x.start(at * n), scan.out.start(at * n)
        scan_chain(code, step, x, out, n, states, code.constant(0))
    return scan.text()


def emit_columns(step: Step, dtype: np.dtype[Any]) -> str:
    """Return the kernel that scans lines that lie side by side."""
    scan = ScanKernel(step, dtype)
    code, n = scan.code, scan.n
    stride, width = scan.block.integer(STRIDE), scan.block.integer(WIDTH)
    states = table(code, scan.state, step.n_parts, COLUMNS)
    widths = (CACHE_LINE // scan.state.size, 4, 1)
    with code.loop(0, scan.n_lines) as outer, code.loop(0, width, COLUMNS) as left:
        some, first = (width - left).least(COLUMNS), outer * n * stride + left
        code.in_vectors(some, lambda at, wide: states.store(scan.identity(wide), at), widths)
        with code.loop(0, n) as i:
            x, out = (numbers.start(first + i * stride) for numbers in (scan.x, scan.out))

            def scan_some(at: Int, wide: int, x: Numbers = x, out: Numbers = out) -> None:
                before = states.load(at, wide)
                after, result = step.apply(before, x.load(at, wide).widen(before[0]))
                states.store(after, at)
                out.store(result, at)

            code.in_vectors(some, scan_some, widths)
    return scan.text()


def emit_line(step: Step, dtype: np.dtype[Any]) -> str:
    """Return the kernel that scans a line in chunks, each as four chains.

    A thread reduces the chains of its chunk, waits until the start of the chunk is known, publishes
    the start of the next one, and scans the chunk while it is in its cache. Each element is read
    from memory once.

    References
    ----------
    D. Merrill, M. Garland, Single-pass parallel prefix scan with decoupled look-back,
    NVIDIA technical report NVR-2016-002, 2016
    """
    scan = ScanKernel(step, dtype)
    code, block = scan.code, scan.block
    grain, n_chunks = block.integer(GRAIN), block.integer(N_CHUNKS)
    starts = Table(block.numbers(STARTS, scan.state), n_chunks + 1, step.n_parts)
    found = table(code, scan.state, step.n_parts + (step is SUM), CHAINS)
    states = table(code, scan.state, step.n_parts, CHAINS)
    zero = code.constant(0)

    def scan_one(code: Emitter, x: Numbers, out: Numbers, n: Int, states: Table, at: Int) -> None:
        scan_chain(code, step, x, out, n, states, at)

    chunk = code.variable(code.claim(block.counter(NEXT), 1))
    with code.repeat() as chunks:
        at = chunk.get()
        chunks.leave_if(at >= n_chunks)
        length = grain.least(scan.n - at * grain)
        part = length // CHAINS
        rest = length - part * CHAINS
        x, out = (numbers.start(at * grain) for numbers in (scan.x, scan.out))
        with code.loop(0, CHAINS) as k:
            reduce_chain(scan, x.start(k * part), part, found, k)
        _wait(code, block.counter(READY), at)
        start = starts.load(at, 1)
        is_safe = _is_safe(code, start[0], found) if step is SUM else code.flag(holds=True)
        end = [code.variable(value) for value in start]
        with code.when(is_safe):
            _join_chains(code, step, found, states, end)
            _continue(code, step, x, length - rest, length, end)
        if step is SUM:
            with code.unless(is_safe):
                states.store(start, zero)
                code.call(scan_one, x, out, length, states, zero)
                for value, new in zip(end, states.load(zero, 1), strict=True):
                    value.set(new)
        starts.store([value.get() for value in end], at + 1)
        code.claim(block.counter(READY), 1)
        with code.when(is_safe):
            scan_four(code, step, x, out, part, part, states)
            last = code.constant(CHAINS - 1)
            x, out = x.start(length - rest), out.start(length - rest)
            code.call(scan_one, x, out, rest, states, last)
        chunk.set(code.claim(block.counter(NEXT), 1))
    return scan.text()


def _join_chains(
    code: Emitter, step: Step, found: Table, states: Table, end: Sequence[Variable]
) -> None:
    """Write the start of each chain to `states`, and advance `end` over all."""
    for chain in map(code.constant, range(CHAINS)):
        before = [value.get() for value in end]
        states.store(before, chain)
        total, *excess = found.first(step.n_parts).load(chain, 1)
        if excess:
            before[1] = before[1] + excess[0]
        for value, new in zip(end, step.apply(before, total)[0], strict=True):
            value.set(new)


def _continue(
    code: Emitter, step: Step, x: Numbers, start: Int, stop: Int, end: Sequence[Variable]
) -> None:
    """Advance `end` over the elements from `start` to `stop`."""
    with code.loop(start, stop) as i:
        before = [value.get() for value in end]
        after, _ = step.apply(before, x.load(i, 1).widen(before[0]))
        for value, new in zip(end, after, strict=True):
            value.set(new)


def _is_safe(code: Emitter, total: Vector, found: Table) -> Flag:
    """Return whether sums are finite in any order of additions, or stay infinite or NaN."""
    size = total.full(0)
    for k in range(CHAINS):
        size = size + found.load(code.constant(k), 1)[2]
    large = size.full(_LARGE)
    stays = (total - total).differs(size.full(0)) | (abs(total) + size < large)
    return code.any((size < large) & stays)


def _wait(code: Emitter, ready: Numbers, chunk: Int) -> None:
    """Wait until the start of a chunk is known."""
    looks = code.variable(code.constant(0))
    with code.repeat() as waiting:
        waiting.leave_if(code.claim(ready, 0) >= chunk)
        looks.set(looks.get() + 1)
        with code.when((looks.get() % _LOOKS).equals(0)):
            code.call_c("sched_yield")
