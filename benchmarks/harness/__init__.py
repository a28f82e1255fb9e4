"""The parts of all benchmarks: rows, families, contenders, timing, results, and pictures."""
