"""Compiled expressions, whose work threads share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sharedmem.arrays.strides import address_of
from sharedmem.expressions.lowering import Dtype
from sharedmem.expressions.numpy_loops import NumpyLoop
from sharedmem.expressions.strips import LINE
from sharedmem.machine.tuning import tuning

if TYPE_CHECKING:  # which would import numba
    from sharedmem.kernels.loops.pieces import Share

# The place of the count of finished elements, after that of claimed ones; and how often the caller
# reads it before it waits for the other threads.
_DONE, _LOOKS = 8, 10_000


@dataclass(frozen=True)
class Kernel:
    """A compiled expression.

    Attributes
    ----------
    function : callable
        The machine code.
    dtype : dtype
        Of the result.
    scalar_dtypes : tuple of dtype
        The dtypes of the numbers in the expression.
    scratch : int
        Bytes for intermediate results.
    loops : tuple of NumpyLoop
        The loops of NumPy's that the machine code calls, and what it needs of them.
    numbers : tuple of ndarray
        Those of the expression, in these types.
    """

    function: Callable[..., None]
    dtype: Dtype
    scalar_dtypes: tuple[Dtype, ...]
    scratch: int
    loops: tuple[NumpyLoop, ...]
    numbers: tuple[Any, ...] = ()

    def __call__(
        self, operands: Sequence[Any], out: Any, streams: bool, share: Share | None = None
    ) -> int:
        """Compute `out` from operands of its shape; all are C-contiguous, aligned and native.

        Parameters
        ----------
        streams : bool
            Whether `out` is written past the caches, which then do not read it first. It must not
            be an operand.
        share : callable, optional
            Calls a function in several threads, which share the work.

        Returns
        -------
        int
            Exceptions for `float_flags.tell`.
        """
        noted = 0
        *operands, out = (part.reshape(-1) for part in (*operands, out))
        first = -address_of(out) % LINE // self.dtype.itemsize if streams else 0
        if first:
            noted = self([x[:first] for x in operands], out[:first], streams=False)
            operands, out = [x[first:] for x in operands], out[first:]
        streams = streams and address_of(out) % LINE == 0
        addresses = [address_of(a) for a in (out, *operands)]
        numbers = [address_of(a) for a in self.numbers]
        size, claim = out.size, tuning.expression_claim_length
        counts = (ctypes.c_int64 * (2 * _DONE))()
        claimed = ctypes.addressof(counts)
        done = claimed + 8 * _DONE

        # Threads get addresses, and may come back after an exception has ended the call.
        def work(is_caller: bool, _alive: Any = (out, operands)) -> bool:
            scratch = ctypes.create_string_buffer(self.scratch)
            places = [*addresses, ctypes.addressof(scratch), *numbers]
            arguments = (ctypes.c_void_p * len(places))(*places)
            self.function(arguments, size, streams, claim, claimed, done)
            looks = 0
            while is_caller and counts[_DONE] < size and looks < _LOOKS:
                looks += 1
            return bool(counts[_DONE] >= size)

        if share is None:
            work(True)
        else:
            share(work)
        return noted | int(counts[_DONE + 1])
