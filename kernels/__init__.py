"""Kernels: machine code that works on one chunk, and the reductions made of it."""

from sharedmem.kernels.reduction import Reduction

__all__ = ["Reduction"]
