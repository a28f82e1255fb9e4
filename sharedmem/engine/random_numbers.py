"""Arrays filled with random numbers, and random permutations, in threads of the caller."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import bytes_a_chunk, chunks
from sharedmem.arrays.shared_array import populate
from sharedmem.engine.runners import Run
from sharedmem.kernels.random import permutations
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]
# Fills a contiguous line: ``kernel(line, first, key, parameters)``, whose first element is number
# `first` of its array.
Kernel = Callable[..., None]
# The key of the generator, and a word of its counter.
Key = tuple[np.uint64, np.uint64, np.uint64]

_MAX_BUCKETS, _MAX_CHUNKS = 1 << 14, 64


def fill(run: Run, kernel: Kernel, target: Array, key: Key, parameters: tuple[Any, ...]) -> None:
    """Fill an array of any layout with random numbers, chunk by chunk."""
    kind, byteorder = target.dtype.kind, target.dtype.byteorder
    bits = target.view(f"{byteorder}u{target.itemsize}") if kind in "bi" else target
    steps = [math.prod(bits.shape[axis + 1 :]) for axis in range(bits.ndim)]

    def fill_chunk(chunk: Any) -> None:
        part = bits[(*chunk, ...)]
        first = sum(start * step for start, step in zip(chunk.start, steps, strict=True))
        populate(part)
        if part.flags.carray and part.dtype.isnative:
            kernel(part.reshape(-1), first, key, parameters)
        else:
            values = np.empty(part.shape, part.dtype.newbyteorder("="))
            kernel(values.reshape(-1), first, key, parameters)
            part[...] = values

    run(fill_chunk, chunks(bits, range(bits.ndim), nbytes=bytes_a_chunk(bits.nbytes)))


def permute(
    run: Run, items: Callable[[slice], Array], out: Array, buckets_key: Key, shuffles_key: Key
) -> None:
    """Write items in random order to a contiguous line: to random buckets, which are shuffled.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` returns the list of ``func(item)``, from threads.
    items : callable
        ``items(slice)`` returns some of the items.
    out : ndarray, shape (n,)
    buckets_key, shuffles_key : Key
        Keys of the random numbers that choose buckets, and that shuffle them.
    """
    n = len(out)
    wanted = max(n // tuning.permutation_bucket_length, 1)
    n_buckets = min(1 << wanted.bit_length() - 1, _MAX_BUCKETS)
    shift = 33 - n_buckets.bit_length()
    grid = chunks(n, size=max(tuning.permutation_chunk_bytes // 8, -(-n // _MAX_CHUNKS)))
    counts = np.empty((len(grid), n_buckets), np.int64)

    def count(index: int) -> None:
        (part,) = grid[index]
        populate(out[part])
        permutations.count(counts[index], part.start, part.stop - part.start, shift, buckets_key)

    run(count, range(len(grid)))
    places = np.cumsum(counts.T).reshape(n_buckets, len(grid)).T - counts
    bounds = np.append(0, np.cumsum(counts.sum(axis=0)))

    def scatter(index: int) -> None:
        (part,) = grid[index]
        some = np.ascontiguousarray(items(part))
        permutations.scatter(some, part.start, shift, buckets_key, places[index].copy(), out)

    def shuffle(bucket: int) -> None:
        start, stop = int(bounds[bucket]), int(bounds[bucket + 1])
        permutations.shuffle(out[start:stop], start, shuffles_key)

    run(scatter, range(len(grid)))
    run(shuffle, range(n_buckets))
