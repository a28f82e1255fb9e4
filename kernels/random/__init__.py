"""Random generators, distributions, and permutations."""
