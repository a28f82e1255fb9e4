"""Reductions of groups of arrays in files: chunk by chunk, never read as a whole."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.engine.group_reduce import GroupReduction
from sharedmem.engine.regions import read
from sharedmem.engine.runners import ArrayRunner, run_serially
from sharedmem.kernels.group_families import ELEMENTS, PLACES, GroupFamily
from sharedmem.kernels.quiet import quietly
from sharedmem.kernels.reduction import State
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]


def reduce_stored_groups(
    runner: ArrayRunner, reduction: GroupReduction, store: Any, codes: NDArray[np.intp]
) -> list[Array]:
    """Reduce the groups of an array in a file along all axes that have labels.

    The states of chunks are combined in their order. The file is cut along the axes without labels
    and the first of those with labels.

    Parameters
    ----------
    runner : ArrayRunner
        Runs the tasks that read.
    reduction : GroupReduction
        Of elements: the states of the first and last ones have these instead of their places.
    store : array
        In a file.
    codes : ndarray of intp
        The groups of the elements along the last axes.

    Returns
    -------
    list of ndarray, each of shape (n_lines, n_groups, 1)
    """
    shape, n_lead = store.shape, store.ndim - codes.ndim
    lead, rest = shape[:n_lead], tuple(slice(0, length) for length in shape[n_lead + 1 :])
    lengths = [len(state) for state in reduction.nothing(1, 0, 1)]
    of_states = dataclasses.replace(reduction, finish=_words)

    def read_states(chunk: Chunk) -> list[State]:
        labeled = codes[chunk[-1]].reshape(-1)
        lines = read(store, (*chunk, *rest)).reshape(-1, len(labeled), 1)
        words = iter(of_states(run_serially, lines, labeled))
        states = [tuple(itertools.islice(words, length)) for length in lengths]
        first = chunk[-1].start * math.prod(shape[n_lead + 1 :])
        return [
            _with_places(family, state, lines, first)
            for family, state in zip(reduction.families, states, strict=True)
        ]

    run = runner.run(store.size * store.dtype.itemsize)
    grid = chunks(store, range(n_lead + 1))
    step = tuning.chunks_per_worker * max(runner.n_workers, 1)
    found: dict[tuple[tuple[int, int], ...], list[State]] = {}
    for start in range(0, len(grid), step):
        batch = grid[start : start + step]
        for chunk, states in zip(batch, run(read_states, batch), strict=True):
            place = tuple((part.start, part.stop) for part in chunk[:n_lead])
            known = found.get(place)
            found[place] = states if known is None else reduction.combined(known, states)
    nothing = quietly(reduction.finish, reduction.nothing(1, 0, 1))
    outs = [np.empty((*lead, reduction.n_groups), each.dtype) for each in nothing]
    for place, states in found.items():
        for out, part in zip(outs, quietly(reduction.finish, states), strict=True):
            lines = out[tuple(itertools.starmap(slice, place))]
            lines[...] = part.reshape(lines.shape)
    return [out.reshape(-1, reduction.n_groups, 1) for out in outs]


def _words(states: list[State]) -> list[Array]:
    return [word for state in states for word in state]


def _with_places(family: GroupFamily, state: State, lines: Array, first: int) -> State:
    """Return a state with the places of elements in all of their line, or with the elements."""
    if family.name in ELEMENTS:
        return state[0], elements_at(lines, state[1].astype(np.intp))
    if family.name in PLACES:
        return *state[:-1], state[-1] + first
    return state


def elements_at(x: Array, places: Array) -> Array:
    """Return the elements at some places of lines, the middle axis of `x`."""
    if not x.shape[1]:
        return np.zeros(places.shape, x.dtype)
    return np.take_along_axis(x, places, axis=1)
