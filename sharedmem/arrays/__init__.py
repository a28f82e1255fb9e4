"""Shared arrays: their type, their constructors, and grids of chunks."""
