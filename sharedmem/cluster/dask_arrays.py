"""Dask arrays, read region by region: Dask computes the regions that a task reads."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import as_ndarray
from sharedmem.engine.regions import Region, forward

# Which array, and from where to where along each axis.
Place = tuple[str, tuple[tuple[int, int], ...]]


_at_hand: ContextVar[Mapping[Place, Any] | None] = ContextVar("blocks", default=None)


@contextlib.contextmanager
def blocks_at_hand(blocks: Mapping[Place, Any]) -> Iterator[None]:
    """Make the given regions available to tasks in this context."""
    token = _at_hand.set(blocks)
    try:
        yield
    finally:
        _at_hand.reset(token)


class DaskArray:
    """A dask array with the interface of an array in a file.

    Pickling leaves the graph behind: a task in another process reads the regions that Dask has
    computed for it.

    Parameters
    ----------
    array : dask.array.Array
        Rechunked if its chunks differ in size along an axis.
    client : distributed.Client
        Client of the cluster that computes it.

    Attributes
    ----------
    chunks : tuple of int
        Shape of its chunks, as for arrays in files.
    """

    def __init__(self, array: Any, client: Any) -> None:
        import distributed

        if any(np.isnan(n) for n in array.shape):
            raise ValueError(
                f"the shape of the dask array is unknown, {array.shape}: call "
                "array.compute_chunk_sizes() first"
            )
        self.chunks = tuple(max(1, *lengths) for lengths in array.chunks)
        self.array = array.rechunk(self.chunks)
        self.shape, self.dtype, self.ndim = array.shape, np.dtype(array.dtype), array.ndim
        self.size, self.nbytes = array.size, array.nbytes
        self.key = secrets.token_hex(8)
        self._client = client
        # The chunks of a persisted array exist already.
        self._futures = {part.key: part for part in distributed.futures_of(self.array, client)}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the graph."""
        return vars(self) | {"array": None, "_client": None, "_futures": {}}

    def __getitem__(self, region: Any) -> NDArray[Any]:
        """Return a region."""
        if (blocks := _at_hand.get()) is not None:
            return as_ndarray(blocks[self.place(region)]).view()
        return as_ndarray(self._client.compute(self.array[region]).result()).copy()

    def part(self, region: Region) -> Any:
        """Return a region as a dask array to compute, or as a future that exists."""
        place = self.place(region)[1]
        index = [start // n for (start, _), n in zip(place, self.chunks, strict=True)]
        bounds = tuple(
            (at * n, min(at * n + n, length))
            for at, n, length in zip(index, self.chunks, self.shape, strict=True)
        )
        chunk = self._futures.get((self.array.name, *index)) if place == bounds else None
        return self.array[region] if chunk is None else chunk

    def place(self, region: Region) -> Place:
        """Return the name of a region."""
        whole = (*region, *[slice(None)] * (self.ndim - len(region)))
        bounds = (part.indices(n)[:2] for part, n in zip(whole, self.shape, strict=True))
        return self.key, tuple(bounds)


def regions_of(task: Any, chunks: Sequence[Any]) -> dict[Place, Any]:
    """Return the regions that Dask has to compute for a task on some chunks, by their names."""
    found = {}
    for chunk in chunks if hasattr(task, "reads") else ():
        for array, region in _sources(task, chunk):
            if isinstance(array, DaskArray):
                region = tuple(map(forward, region))
                found[array.place(region)] = array.part(region)
    return found


def _sources(part: Any, region: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the arrays and regions that are read for a region of a derived array."""
    if not hasattr(type(part), "reads"):
        yield part, region
        return
    for source, own in part.reads(region):
        yield from _sources(source, own)
