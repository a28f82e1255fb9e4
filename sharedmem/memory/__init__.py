"""Shared memory: segments without names, and the files and mappings that they are made of."""
