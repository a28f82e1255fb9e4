"""What every benchmark uses: rows, families, contenders, timing, results, and pictures."""
