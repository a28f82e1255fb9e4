"""Kernels, ufuncs, and reductions over the chunks of arrays."""
