"""Scans: cumulative sums, products, and extrema of lines; threads share long lines."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from sharedmem.kernels.compile import Kernel, kernel, part
from sharedmem.kernels.loops import chains
from sharedmem.kernels.loops.chains import CHAINS
from sharedmem.kernels.loops.intrinsics import fetch_add, let_others_run, on_stack
from sharedmem.kernels.loops.lanes import LANES, index, number
from sharedmem.kernels.loops.layout import Array, is_whole
from sharedmem.kernels.machine_code import Share

# The number of columns that are scanned side by side, row by row.
COLUMNS = 512
# Where the cursor of a line has the next chunk, and the number of chunks whose start is known: on
# separate cache lines.
_NEXT, _READY = 0, 8
# How often a thread tests whether the start of its chunk is known before it yields.
_LOOKS = 1000

_chains, _lanes = on_stack(2, CHAINS), on_stack(3, LANES)
_columns, _column_values = on_stack(2, COLUMNS), on_stack(COLUMNS)


class Scan(NamedTuple):
    """The kernels of a scan; in each, `x` and `out` are flat, of the same layout, or the same.

    Attributes
    ----------
    rows : kernel
        ``rows(x, out, p, n, n_lines, start)`` scans lines of contiguous elements.
    columns : kernel
        ``columns(x, out, p, n_outer, n, stride, width, start)`` scans lines that lie side by side.
    line : kernel or None
        Scans one line in chunks, in any number of threads; None where a line must not be cut.
    identity : callable
        ``identity(dtype)`` is the number that a scan starts from.
    is_compensated : bool
        Whether the results differ from those of NumPy's loops.
    """

    rows: Callable[..., None]
    columns: Callable[..., None]
    line: Callable[..., None] | None
    identity: Callable[[np.dtype[Any]], Any]
    is_compensated: bool = False

    def start(self, dtype: np.dtype[Any]) -> Array:
        """Return the initial state of a scan, as a column."""
        accumulator = np.dtype(np.float64) if self.is_compensated else dtype
        return np.array([[self.identity(dtype)], [0]], accumulator)


@part
def _fill(state: Array, start: Array) -> None:
    for which in range(2):
        state[which, :] = start[which, 0]


def _row_kernel(step: Callable[..., Any], scan_four: Callable[..., None]) -> Callable[..., None]:
    scan_chain = chains.chain_scanner(step)

    @kernel
    def scan_rows(x: Array, out: Array, p: int, n: int, n_lines: int, start: Array) -> None:
        state = _chains(start)
        n_fours = n_lines // CHAINS * CHAINS
        for at in range(0, n_fours, CHAINS):
            _fill(state, start)
            scan_four(x, out, p + at * n, n, n, state)
        for at in range(n_fours, n_lines):
            _fill(state, start)
            scan_chain(x, out, p + at * n, n, state, number(0))

    return scan_rows


def _column_kernel(step: Callable[..., Any]) -> Callable[..., None]:
    @kernel
    def scan_columns(
        x: Array, out: Array, p: int, n_outer: int, n: int, stride: int, width: int, start: Array
    ) -> None:
        number = start.dtype.type
        state, values = _columns(start), _column_values(start)
        for at in range(n_outer):
            for left in range(0, width, COLUMNS):
                some = min(COLUMNS, width - left)
                q = p + at * n * stride + left
                _fill(state, start)
                total, excess = state[0], state[1]
                for _ in range(n):
                    for j in range(some):  # to another row: vectorized also where `out` is `x`
                        total[j], excess[j], values[j] = step(
                            total[j], excess[j], number(x[index(q + j)])
                        )
                    for j in range(some):
                        out[index(q + j)] = values[j]
                    q += stride

    return scan_columns


def _line_kernel(
    step: Callable[..., Any],
    scan_four: Callable[..., None],
    reduce_chain: Callable[..., Any],
    is_safe: Callable[..., bool],
) -> Callable[..., None]:
    """Make the kernel that scans a line in chunks, each as four chains.

    A thread reduces the chains of its chunk, waits until the start of the chunk is known, publishes
    the start of the next one, and scans the chunk while it is in its cache. Each element is read
    from memory once.

    References
    ----------
    D. Merrill, M. Garland, Single-pass parallel prefix scan with decoupled look-back,
    NVIDIA technical report NVR-2016-002, 2016
    """
    scan_chain = chains.chain_scanner(step)

    @kernel
    def scan_line(
        x: Array, out: Array, p: int, n: int, grain: int, cursor: Array, starts: Array,
        identity: Any,
    ) -> None:  # fmt: skip
        n_chunks = starts.shape[1] - 1
        lanes, found, state = _lanes(starts), _chains(starts), _chains(starts)
        chunk = fetch_add(cursor, _NEXT, 1)
        while chunk < n_chunks:
            first = p + chunk * grain
            length = min(grain, n - chunk * grain)
            part = length // CHAINS
            size = starts[1, 0]
            for k in range(CHAINS):
                found[0, k], found[1, k], more = reduce_chain(
                    x, first + k * part, part, identity, lanes
                )
                size += more
            looks = 0
            while fetch_add(cursor, _READY, 0) < chunk:
                looks += 1
                if looks % _LOOKS == 0:
                    let_others_run()
            total, excess = starts[0, chunk], starts[1, chunk]
            safe = is_safe(total, size)
            for k in range(CHAINS if safe else 0):
                state[0, k], state[1, k] = total, excess
                total, excess, _ = step(total, excess + found[1, k], found[0, k])
            rest = length - CHAINS * part
            if not safe:
                state[0, 0], state[1, 0] = total, excess
                scan_chain(x, out, first, length, state, number(0))
                total, excess = state[0, 0], state[1, 0]
            else:
                for i in range(first + length - rest, first + length):
                    total, excess, _ = step(total, excess, starts.dtype.type(x[index(i)]))
            starts[0, chunk + 1], starts[1, chunk + 1] = total, excess
            fetch_add(cursor, _READY, 1)
            if safe:
                scan_four(x, out, first, part, part, state)
                scan_chain(x, out, first + length - rest, rest, state, CHAINS - 1)
            chunk = fetch_add(cursor, _NEXT, 1)

    return scan_line


def _exact(
    step: Callable[..., Any], identity: Callable[[np.dtype[Any]], Any], has_line: bool = True
) -> Scan:
    scan_four, line = chains.four_scanner(step), None
    if has_line:
        line = _line_kernel(step, scan_four, chains.chain_reducer(step), chains.always)
    return Scan(_row_kernel(step, scan_four), _column_kernel(step), line, identity)


def _zero(dtype: np.dtype[Any]) -> Any:
    return -0.0 if dtype.kind == "f" else 0  # -0.0 + x is x, also for x = -0.0


def _one(dtype: np.dtype[Any]) -> Any:
    return 1


def _smallest(dtype: np.dtype[Any]) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _largest(dtype: np.dtype[Any]) -> Any:
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


_sums = Scan(
    _row_kernel(chains.add_float, chains.scan_four_sums),
    _column_kernel(chains.add_float),
    _line_kernel(chains.add_float, chains.scan_four_sums, chains.sum_chain, chains.is_safe),
    _zero,
    is_compensated=True,
)
_integer_sums = _exact(chains.add, _zero)
# A product of floats may overflow or underflow where the products of its parts do not: never cut.
_products = _exact(chains.multiply, _one, has_line=False)
_integer_products = _exact(chains.multiply, _one)
_maxima = _exact(chains.maximum, _smallest)
_minima = _exact(chains.minimum, _largest)


def find(ufunc: Any, dtype: np.dtype[Any]) -> Scan | None:
    """Return the scan that accumulates numbers of `dtype` by a ufunc, or None."""
    if ufunc is np.add and dtype.char in "FD" and dtype.isnative:
        return _sums  # real and imaginary parts are lines side by side
    if not is_whole(dtype) or dtype.kind == "b":
        return None
    if ufunc is np.add:
        return _sums if dtype.kind == "f" else _integer_sums
    if ufunc is np.multiply:
        return _products if dtype.kind == "f" else _integer_products
    return {np.maximum: _maxima, np.minimum: _minima}.get(ufunc)


def scan_line(scan: Scan, x: Array, out: Array, p: int, n: int, grain: int, share: Share) -> None:
    """Scan the `n` elements from `p` in chunks of `grain`, in several threads."""
    cursor = np.zeros(2 * _READY, np.int64)
    start = scan.start(out.dtype)
    starts = np.empty((2, -(-n // grain) + 1), start.dtype)
    starts[:, :1] = start
    code, block = cast(Kernel, scan.line).bind(x, out, p, n, grain, cursor, starts, starts[0, 0])
    share(code, ctypes.addressof(block))
