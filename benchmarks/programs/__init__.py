"""Whole programs, each in three versions: ours, a plain one, and one with a peer."""
