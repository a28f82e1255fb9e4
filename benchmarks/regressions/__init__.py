"""Benchmarks that asv runs over commits of the repository."""
