"""Rows of the benchmarks, a family per module."""
