"""Arrays that are computed as their elements are read, and never stored as a whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.line_view import Lines, layout
from sharedmem.engine.operands import common_shape, is_plain, result_axes
from sharedmem.kernels.loops.formulas import Elements

Array = NDArray[Any]
Region = tuple[slice, ...]


class Elementwise(Protocol):
    """A function of arrays that computes each element of its result from those at its place."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        ...

    def fill(self, operands: Sequence[Array], out: Array) -> None:
        """Compute all of `out`, from operands of its shape."""
        ...

    def in_registers(self, operands: Sequence[Array]) -> Elements | None:
        """Return what kernels compute of contiguous operands of one shape, if they can."""
        ...


@dataclass(frozen=True, eq=False)
class Computed:
    """What a function gives of arrays in memory, which are broadcast against each other.

    It has the shape, the dtype, and the order in memory of the array that
    :func:`~sharedmem.engine.apply_ufunc.apply_ufunc` would return, and so the same chunks.

    Attributes
    ----------
    function : Elementwise
    operands : tuple of ndarray
        All of the same shape.
    order : tuple of int
        The axes, from the one with the largest steps in memory to the smallest.
    """

    function: Elementwise
    operands: tuple[Array, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, function: Elementwise, operands: Sequence[Array]) -> Computed:
        """Return the array; raise ValueError where the shapes cannot be broadcast."""
        shape = common_shape([x.shape for x in operands])
        operands = tuple(np.broadcast_to(x, shape) for x in operands)
        return cls(function, operands, tuple(result_axes("K", (), operands, len(shape), 0)))

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.operands[0].shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.operands[0].size

    @property
    def nbytes(self) -> int:
        """Bytes that are read to compute all elements."""
        return sum(x.nbytes for x in self.operands)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.operands[0].ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self.function.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        """The steps in memory that the axes would have."""
        steps, step = [0] * self.ndim, self.dtype.itemsize
        for axis in reversed(self.order):
            steps[axis] = step
            step *= self.shape[axis]
        return tuple(steps)

    def elements(self) -> Elements | None:
        """Return the elements in their order in memory, if kernels can compute them."""
        operands = [x.transpose(self.order) for x in self.operands]
        if not all(map(is_plain, operands)):
            return None
        return self.function.in_registers(operands)

    def lines(self, axes: frozenset[int]) -> Lines:
        """Return the array, which is not empty, as lines along the reduced `axes`."""
        _, _, n_outer, n_reduced, grid = layout(self.shape, self.strides, self.dtype.itemsize, axes)
        runs = [
            (is_reduced, [*run])
            for is_reduced, run in itertools.groupby(
                (axis for axis in self.order if self.shape[axis] > 1), axes.__contains__
            )
        ]
        kept = [run for is_reduced, run in runs if not is_reduced]
        reduced = [run for is_reduced, run in runs if is_reduced]
        view: Any = MergedAxes(self, [*kept[:n_outer], *reduced, *kept[n_outer:]])
        return Lines(view, n_outer, n_reduced, grid)


class MergedAxes:
    """A computed array whose axes are merged: it is read like an array of fewer axes.

    Parameters
    ----------
    a : Computed
    merged : list of list of int
        The axes that are walked as one, for each that is seen. Others have length one.
    """

    def __init__(self, a: Computed, merged: list[list[int]]) -> None:
        lengths = [[a.shape[axis] for axis in axes] for axes in merged]
        axes = [*itertools.chain(*merged)]
        single = tuple(axis for axis in range(a.ndim) if axis not in axes)
        order = [axis - sum(one < axis for one in single) for axis in axes]
        self._function, self._lengths = a.function, lengths
        self._operands = [x.squeeze(single).transpose(order) for x in a.operands]
        self.shape = tuple(map(math.prod, lengths))
        self.dtype, self.ndim, self.size = a.dtype, len(merged), a.size

    def __getitem__(self, region: Region | slice) -> Array:
        """Compute a region."""
        return self.computed(region if isinstance(region, tuple) else (region,))

    def computed(self, region: Region, room: Array | None = None) -> Array:
        """Compute a region, in the first elements of `room` if it is given."""
        bounds = [part.indices(n) for part, n in zip(region, self.shape, strict=True)]
        shape = [stop - start for start, stop, _ in bounds]
        flat = np.empty(math.prod(shape), self.dtype) if room is None else room
        out: Array = flat[: math.prod(shape)].reshape(shape)
        cut = [
            [*_boxes(lengths, start, stop)]
            for lengths, (start, stop, _) in zip(self._lengths, bounds, strict=True)
        ]
        for boxes in itertools.product(*cut):
            place: Any = tuple(
                slice(first - start, last - start)
                for (first, last, _), (start, _, _) in zip(boxes, bounds, strict=True)
            )
            source: Any = tuple(itertools.chain(*(box for _, _, box in boxes)))
            parts = [x[(*source, ...)] for x in self._operands]
            self._function.fill(parts, out[(*place, ...)].reshape(parts[0].shape))
        return out


def _boxes(lengths: Sequence[int], start: int, stop: int) -> Iterator[tuple[int, int, list[slice]]]:
    """Cut a range of the elements of axes that are walked as one into regions of these axes.

    Yields
    ------
    first, last : int
        The part of the range.
    region : list of slice
    """
    if len(lengths) == 1:
        yield start, stop, [slice(start, stop)]
        return
    inner = math.prod(lengths[1:])
    whole = -(-start // inner), stop // inner
    edges = [start, whole[0] * inner, whole[1] * inner, stop]
    if whole[0] >= whole[1]:  # no row is whole
        edges = [start, min(stop, whole[0] * inner), stop]
    for first, last in itertools.pairwise(edges):
        row = first // inner
        if first < last and first % inner == last % inner == 0:
            yield first, last, [slice(row, last // inner), *(slice(n) for n in lengths[1:])]
        elif first < last:
            for low, high, region in _boxes(lengths[1:], first - row * inner, last - row * inner):
                yield low + row * inner, high + row * inner, [slice(row, row + 1), *region]
