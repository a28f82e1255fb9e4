"""Scans: cumulative sums, products, and extrema of lines; threads share long lines."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from sharedmem.kernels import machine_code
from sharedmem.kernels.loops import chains, scan_kernels
from sharedmem.kernels.loops.layout import Array, is_whole
from sharedmem.kernels.machine_code import Share


class Scan(NamedTuple):
    """A scan; in each method, `x` and `out` are flat, of the same dtype, or the same array.

    Attributes
    ----------
    step : Step
    dtype : dtype
    is_compensated : bool
        Whether the results differ from those of NumPy's loops.
    has_line : bool
        Whether a line may be cut.
    """

    step: chains.Step
    dtype: np.dtype[Any]
    is_compensated: bool = False
    has_line: bool = True

    def rows(self, x: Array, out: Array, p: int, n: int, n_lines: int) -> None:
        """Scan lines of `n` contiguous elements, from the element `p`."""
        block = _block(x, out, p, n, n_lines)
        machine_code.alone(_code(scan_kernels.emit_rows, self), ctypes.addressof(block))

    def columns(
        self, x: Array, out: Array, p: int, n_outer: int, n: int, stride: int, width: int
    ) -> None:
        """Scan `width` lines that lie side by side, `n_outer` times, from the element `p`."""
        block = _block(x, out, p, n, n_outer, stride, width)
        machine_code.alone(_code(scan_kernels.emit_columns, self), ctypes.addressof(block))

    def line(self, x: Array, out: Array, p: int, n: int, grain: int, share: Share) -> None:
        """Scan the `n` elements from `p` in chunks of `grain`, in several threads."""
        n_chunks = -(-n // grain)
        accumulator = np.dtype(np.float64) if self.is_compensated else self.dtype
        starts = np.empty((self.step.n_parts, n_chunks + 1), accumulator)
        starts[:, 0] = self.step.identity(self.dtype)
        block = _block(x, out, p, n, 1, 0, 0, grain, n_chunks, _address(starts))
        share(_code(scan_kernels.emit_line, self), ctypes.addressof(block))


def _block(x: Array, out: Array, p: int, *words: int) -> Any:
    at = p * x.itemsize
    return (ctypes.c_int64 * chains.N_WORDS)(_address(x) + at, _address(out) + at, *words)


def _address(x: Array) -> int:
    return int(x.__array_interface__["data"][0])


@lru_cache
def _code(emit: Callable[..., str], scan: Scan) -> machine_code.Code:
    """Return the machine code of a scan, compiled now if it is in no file."""

    def make() -> bytes:
        return machine_code.compile_text(emit(scan.step, scan.dtype))

    name = f"scan-{emit.__name__.removeprefix('emit_')}-{scan.step.name}"
    return machine_code.load(name, (name, scan.dtype.str), make)


@lru_cache
def find(ufunc: Any, dtype: np.dtype[Any]) -> Scan | None:
    """Return the scan that accumulates numbers of `dtype` by a ufunc, or None."""
    if ufunc is np.add and dtype.char in "FD" and dtype.isnative:
        real = np.dtype(dtype.char.lower())
        return Scan(chains.SUM, real, is_compensated=True)  # of parts, which lie side by side
    if not is_whole(dtype) or dtype.kind == "b":
        return None
    if ufunc is np.add and dtype.kind == "f":
        return Scan(chains.SUM, dtype, is_compensated=True)
    if ufunc is np.multiply and dtype.kind == "f":
        # It may overflow or underflow where the products of its parts do not: never cut.
        return Scan(chains.PRODUCT, dtype, has_line=False)
    step = _EXACT.get(ufunc)
    return None if step is None else Scan(step, dtype)


_EXACT: dict[Any, chains.Step] = {
    np.add: chains.INTEGER_SUM,
    np.multiply: chains.PRODUCT,
    np.maximum: chains.MAXIMUM,
    np.minimum: chains.MINIMUM,
}
