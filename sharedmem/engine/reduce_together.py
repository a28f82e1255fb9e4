"""Several reductions in one pass: checked before any work, side by side, and their results."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from sharedmem.engine.operands import as_tuple
from sharedmem.engine.reduce import Array, ByLine, Request, State, by_line, map_parts, reduce
from sharedmem.engine.runners import Run, run_serially
from sharedmem.kernels.reduction import LineReduction, Reduction

# Where chunks begin and end along the axes that are kept.
Place = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Checked:
    """A request whose axes are in order, and whose kernel is compiled.

    Attributes
    ----------
    reduction, of_lines : Reduction
        The reduction as it was given, and as one of lines.
    arrays : tuple of array
        The arrays, in memory or in files.
    axes : tuple of int
        The axes to reduce.
    keepdims : bool
        Whether these are kept in the result.
    """

    reduction: Reduction
    of_lines: LineReduction
    arrays: tuple[Any, ...]
    axes: tuple[int, ...]
    keepdims: bool

    @classmethod
    def of(cls, request: Request) -> Checked:
        """Check a request, and compile the kernel of its reduction."""
        reduction, a, axis, keepdims = request
        arrays = as_tuple(a)
        ndim = arrays[0].ndim
        axes = normalize_axis_tuple(range(ndim) if axis is None else axis, ndim, "axis")
        of_lines = reduction
        if not isinstance(of_lines, LineReduction):
            of_lines = by_line(reduction, *(part.dtype for part in arrays))
        return cls(reduction, of_lines, arrays, axes, keepdims)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the arrays."""
        return tuple(self.arrays[0].shape)

    @property
    def kept(self) -> list[int]:
        """The axes that are not reduced."""
        return [at for at in range(len(self.shape)) if at not in self.axes]

    @property
    def kept_shape(self) -> list[int]:
        """Their lengths."""
        return [self.shape[at] for at in self.kept]

    def state(self, arrays: tuple[Array, ...]) -> State:
        """Return the state of a chunk, of arrays with all axes."""
        to_state = dataclasses.replace(self.of_lines, finalize=tuple, direct=None)
        return reduce(run_serially, to_state, arrays, self.axes, keepdims=True)  # type: ignore[no-any-return]

    def result(self, states: dict[Place, State]) -> Any:
        """Return the result, given the states of all lines, of arrays with all axes."""
        kept = self.kept
        if not (self.of_lines is self.reduction or kept or self.keepdims):
            return self.reduction.finalize(states[()][0].item())
        results = {place: self._finalize(place, state) for place, state in states.items()}

        def join(*parts: Array) -> Any:
            joined = np.empty([*self.kept_shape, *parts[0].shape[len(kept) :]], parts[0].dtype)
            for place, part in zip(results, parts, strict=True):
                joined[tuple(slice(*bounds) for bounds in place)] = part
            return np.expand_dims(joined, self.axes)[()] if self.keepdims else joined[()]

        return map_parts(join, *results.values())

    def _finalize(self, place: Place, state: State) -> Any:
        ndim = len(self.shape)
        lines = tuple(part.reshape([-1, 1, *part.shape[ndim:]]) for part in state)
        kept = [stop - start for start, stop in place]
        result = self.of_lines.finalize(lines)
        return map_parts(lambda part: part.reshape([*kept, *part.shape[2:]]), result)


def reduce_together(run: Run, requests: Sequence[Request], n_workers: int) -> list[Any]:
    """Reduce the same arrays in memory over the same axes by several reductions, in one pass.

    What is returned and raised is otherwise as by :func:`engine.reduce.reduce`.
    """
    _, arrays, axis, _ = requests[0]
    if len(requests) == 1 and len(arrays) > 1:
        return [reduce(run, *requests[0], n_workers=n_workers)]
    parts = [Checked.of(request) for request in requests]
    if not parts[0].shape or 0 in parts[0].shape:
        return [reduce(run, *request) for request in requests]
    several = _SideBySide([part.of_lines for part in parts], [x.dtype for x in parts[0].arrays])
    state = reduce(run, several.reduction(), arrays, axis, keepdims=True, n_workers=n_workers)
    whole = tuple((0, n) for n in parts[0].kept_shape)
    return [
        part.result({whole: own}) for part, own in zip(parts, several.split(state), strict=True)
    ]


class _SideBySide:
    """Reductions of the same chunks as one, whose state has the states of all.

    Parameters
    ----------
    reductions : sequence of LineReduction
    dtypes : sequence of dtype
        Those of the arrays that they reduce.
    """

    def __init__(
        self, reductions: Sequence[LineReduction], dtypes: Sequence[np.dtype[Any]]
    ) -> None:
        nothing = [np.zeros((0, 1, 1), dtype) for dtype in dtypes]
        n_each = (len(reduction.chunk(*nothing)) for reduction in reductions)
        self._reductions = reductions
        self._ends = [*itertools.accumulate(n_each, initial=0)]

    def reduction(self) -> LineReduction:
        """Return the reduction that gives the state itself."""
        calls_users = any(isinstance(reduction, ByLine) for reduction in self._reductions)
        return (ByLine if calls_users else LineReduction)(self.chunk, self.combine, tuple)

    def chunk(self, *arrays: Array) -> State:
        """Reduce a chunk."""
        return _joined(reduction.chunk(*arrays) for reduction in self._reductions)

    def combine(self, a: State, b: State) -> State:
        """Combine the states of neighbors."""
        parts = zip(self._reductions, self.split(a), self.split(b), strict=True)
        return _joined(reduction.combine(first, second) for reduction, first, second in parts)

    def split(self, state: State) -> list[State]:
        """Return the state of each reduction."""
        return [state[start:stop] for start, stop in itertools.pairwise(self._ends)]


def _joined(states: Iterable[State]) -> State:
    return tuple(itertools.chain.from_iterable(states))
