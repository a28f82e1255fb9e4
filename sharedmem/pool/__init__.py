"""The pool: MapReduce, background calls, and traces."""
