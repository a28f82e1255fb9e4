"""Compiled expressions, whose work threads share."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.shared_array import is_present
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import is_plain
from sharedmem.expressions.lowering import Dtype
from sharedmem.expressions.numpy_loops import NumpyLoop
from sharedmem.expressions.strips import LINE
from sharedmem.kernels.loops.layout import address_of
from sharedmem.kernels.machine_code import Code, Share, alone
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]

# The word of a block in which code tells of floating-point exceptions.
_NOTED = 11


@dataclass(frozen=True)
class Kernel:
    """A compiled expression.

    Attributes
    ----------
    code : Code
        The machine code; :func:`~sharedmem.expressions.strips.write_kernel` describes its block.
    dtype : dtype
        Of the result.
    scalar_dtypes : tuple of dtype
        The dtypes of the numbers in the expression.
    loops : tuple of NumpyLoop
        The loops of NumPy's that the machine code calls, and what it needs of them.
    numbers : sequence of ndarray
        Those of the expression, in these types, each repeated for the elements of a step.
    """

    code: Code
    dtype: Dtype
    scalar_dtypes: tuple[Dtype, ...]
    loops: tuple[NumpyLoop, ...]
    numbers: Sequence[Any] = ()

    def compute_whole(
        self, operands: Sequence[Array], out: Array, size: int, share: Share | None = None
    ) -> int | None:
        """Compute `out`, all or a part of a result of `size` elements; None if it has to be cut.

        It is not cut if all arrays are as the machine code needs them. Returned are exceptions, as
        by :meth:`__call__`.
        """
        parts = [*operands, out]
        if not all(x.flags.c_contiguous for x in parts):
            axes = memory_order(out.strides)
            *operands, out = parts = [x.transpose(axes) for x in parts]
        if out.dtype != self.dtype or not all(map(is_plain, parts)):
            return None
        if share is not None and not is_present(out):
            return None
        is_apart = not any(np.may_share_memory(out, x) for x in operands)
        streams = is_apart and size * out.itemsize >= tuning.streamed_bytes
        return self(operands, out, streams, share or alone)

    def __call__(
        self, operands: Sequence[Array], out: Array, streams: bool, share: Share = alone
    ) -> int:
        """Compute `out` from operands of its shape; all are C-contiguous, aligned and native.

        Parameters
        ----------
        streams : bool
            Whether `out` is written past the caches, which then do not read it first. It must not
            be an operand.
        share : callable, optional
            Calls the code in several threads, which share the work.

        Returns
        -------
        int
            Exceptions for `float_flags.tell`.
        """
        parts = out, *operands
        addresses = [address_of(a) for a in parts]
        noted = first = 0
        if streams:
            first = min(-addresses[0] % LINE // self.dtype.itemsize, out.size)
            noted = self._compute(addresses, first, False, alone) if first else 0
            addresses = [at + first * a.itemsize for at, a in zip(addresses, parts, strict=True)]
            streams = addresses[0] % LINE == 0
        return noted | self._compute(addresses, out.size - first, streams, share)

    def _compute(self, addresses: Sequence[int], size: int, streams: bool, share: Share) -> int:
        numbers = [address_of(a) for a in self.numbers]
        head = [0] * 8 + [size, streams, tuning.expression_claim_length, 0]
        block = _words(*head, addresses[0], 0, *addresses[1:], *numbers)
        share(self.code, ctypes.addressof(block))
        return block[_NOTED]


def _words(*values: int) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(values))(*values)
