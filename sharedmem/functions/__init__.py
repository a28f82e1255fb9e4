"""NumPy's functions on the pool in use."""
