"""Kernels: numba functions that work on one chunk, and the reductions made of them."""

from sharedmem.kernels.reduction import Reduction

__all__ = ["Reduction"]
