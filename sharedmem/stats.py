"""What `sharedmem stats` computes: moments, extrema and a histogram of arrays on disk."""

from __future__ import annotations

import itertools
import math
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels import Reduction, extrema, histograms, summaries
from sharedmem.kernels.summaries import Summary
from sharedmem.mapreduce import MapReduce

Array = NDArray[Any]
State = tuple[Any, ...]


class Source(NamedTuple):
    """An array on disk that has not been read yet.

    Attributes
    ----------
    name : str
        The file, and for a member of an .npz file its name in brackets.
    shape : tuple of int
    dtype : dtype
    load : callable
        ``load()`` gives the array; mapped, except for members of .npz files.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], Array]


class Statistics(NamedTuple):
    """What one array holds.

    Attributes
    ----------
    source : Source
        The array.
    axis : int or None
        The axis that was reduced.
    summary : Summary
        Numbers, or with an axis arrays with one element a line.
    counts : ndarray of int64, shape (n_bins,), or None
        The histogram; None with an axis, or where no element is finite.
    edges : ndarray of float64, shape (n_bins + 1,), or None
        Its bins.
    passes : int
        How often the array was read.
    seconds : float
        How long that took.
    """

    source: Source
    axis: int | None
    summary: Summary
    counts: Array | None
    edges: Array | None
    passes: int
    seconds: float

    @property
    def nbytes(self) -> int:
        """How many bytes the array has."""
        return math.prod(self.source.shape) * self.source.dtype.itemsize

    @property
    def n_outside(self) -> int:
        """How many finite elements are in no bin of the histogram."""
        counted = 0 if self.counts is None else int(self.counts.sum())
        return int(self.summary.count - self.summary.n_nan - self.summary.n_inf) - counted


def open_sources(
    files: Sequence[str], dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None
) -> list[Source]:
    """Look at files and check that they hold arrays of numbers.

    Parameters
    ----------
    files : sequence of str
        Names that end in .npy or .npz; all others are raw.
    dtype : dtype, optional
        What raw files hold.
    shape : tuple of int, optional
        The shape of raw files; by default they have one axis.

    Raises
    ------
    ValueError
        If a file cannot be used; the message names it.
    """
    sources = []
    for file in files:
        try:
            found = list(_open(Path(file), dtype, shape))
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror or error}") from error
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file}: {error}") from error
        for source in found:
            if source.dtype.kind not in "biuf":
                raise ValueError(
                    f"{source.name}: statistics are of real numbers, and this is an array of "
                    f"dtype {source.dtype}"
                )
        sources += found
    if dtype is not None and all(Path(file).suffix in {".npy", ".npz"} for file in files):
        raise ValueError("--dtype and --shape are for raw files; .npy and .npz files say their own")
    return sources


def _open(
    path: Path, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None
) -> Iterator[Source]:
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")
        yield Source(str(path), array.shape, array.dtype, lambda: array)
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield _member(path, archive, name)
    else:
        raw = _map_raw(path, dtype, shape)
        yield Source(str(path), raw.shape, raw.dtype, lambda: raw)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Source:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)

    def load() -> Array:
        with zipfile.ZipFile(path) as again, again.open(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    return Source(f"{path}[{name.removesuffix('.npy')}]", shape, dtype, load)


def _map_raw(path: Path, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None) -> Array:
    with path.open("rb") as file:
        nbytes = file.seek(0, os.SEEK_END)
    if dtype is None:
        raise ValueError("not .npy or .npz, so --dtype has to say what it holds")
    if shape is None:
        if nbytes % dtype.itemsize:
            raise ValueError(
                f"its {nbytes} bytes are no multiple of the {dtype.itemsize} of {dtype}"
            )
        shape = (nbytes // dtype.itemsize,)
    needed = math.prod(shape) * dtype.itemsize
    if nbytes != needed:
        raise ValueError(f"it has {nbytes} bytes, but shape {shape} of {dtype} needs {needed}")
    if nbytes == 0:  # which mmap refuses
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape)


def statistics(
    pool: MapReduce,
    source: Source,
    axis: int | None = None,
    bins: int = 20,
    limits: tuple[float, float] | None = None,
) -> Statistics:
    """Read an array and say what it holds.

    Parameters
    ----------
    pool : MapReduce
        Who does the work.
    source : Source
        The array.
    axis : int, optional
        The axis to reduce; by default all, and only then there is a histogram.
    bins : int
        How many bins of equal width.
    limits : (float, float), optional
        Lower and upper end of the bins. Without them the extrema have to be known first, and the
        array is read once more for the histogram.
    """
    parts = [summaries.summary(source.dtype)]
    if source.dtype.kind in "biu" and 0 not in source.shape:
        parts.append(extrema.minmax(source.dtype))  # a summary has them in float64
    edges = None
    if axis is None and limits is not None:
        edges = np.histogram_bin_edges([], bins, limits)
        parts.append(histograms.histogram(source.dtype, edges, uniform=True))
    reduction = _together(parts, source.dtype)
    start = time.perf_counter()
    array = source.load()
    results = list(pool.reduce(reduction, array, axis=axis))
    counts = None if edges is None else results.pop()
    n_fields = len(Summary._fields)
    summary = Summary(*results[:n_fields])
    if results[n_fields:]:
        smallest, largest = results[n_fields:]
        summary = summary._replace(min=smallest, max=largest)
    passes = 1
    if axis is None and edges is None and np.isfinite(float(summary.max) - float(summary.min)):
        extent = np.array([summary.min, summary.max], np.float64)
        edges = np.histogram_bin_edges(extent, bins)
        counts = pool.reduce(histograms.histogram(source.dtype, edges, uniform=True), array)
        passes = 2
    seconds = time.perf_counter() - start
    return Statistics(source, axis, summary, counts, edges, passes, seconds)


def _together(parts: Sequence[Reduction], dtype: np.dtype[Any]) -> Reduction:
    """Return the reduction that does several in one pass, chunk by chunk while it is in cache."""
    # What this compiles, on a machine that has not seen these kernels, is not counted as reading.
    widths = [len(part.chunk(np.zeros((1, 1, 1), dtype))) for part in parts]
    stops = list(itertools.accumulate(widths))
    slices = [slice(stop - width, stop) for stop, width in zip(stops, widths, strict=True)]

    def chunk(x: Array) -> State:
        return tuple(itertools.chain.from_iterable(part.chunk(x) for part in parts))

    def combine(a: State, b: State) -> State:
        states = (part.combine(a[at], b[at]) for part, at in zip(parts, slices, strict=True))
        return tuple(itertools.chain.from_iterable(states))

    def finalize(state: State) -> State:
        results = (part.finalize(state[at]) for part, at in zip(parts, slices, strict=True))
        return tuple(
            itertools.chain.from_iterable(
                result if isinstance(result, tuple) else (result,) for result in results
            )
        )

    identities = [part.identity for part in parts]
    identity = None if None in identities else tuple(itertools.chain.from_iterable(identities))
    return Reduction(chunk, combine, finalize, identity, lines=True)
