"""An array whose last axes have labels, as lines: their elements are in groups."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from sharedmem.engine.groups import MISSING, Groups

Array = NDArray[Any]


class GroupedLines(NamedTuple):
    """An array as lines whose elements are in groups.

    Attributes
    ----------
    x : ndarray, shape (n_outer, n, n_inner)
    codes : ndarray of intp, shape (n,)
    n_groups : int
    n_labeled : int
        The number of axes that have labels.
    n_reduced : int
        Of `n` elements, these are along axes that are reduced; each index of other axes of the
        labels has groups of its own.
    shape : tuple of int
        Of the results, with the axes of outer, grouped, and inner lines.
    axes : list of int
        The order of these axes in the result.
    """

    x: Array
    codes: NDArray[np.intp]
    n_groups: int
    n_labeled: int
    n_reduced: int
    shape: tuple[int, ...]
    axes: list[int]

    def shaped(self, found: Array) -> Array:
        """Return results, of shape (..., n_outer, n_groups, n_inner), in their shape."""
        more = found.shape[:-3]
        n_more = len(more)
        order = [*range(n_more), *(n_more + axis for axis in self.axes)]
        return found.reshape(more + self.shape).transpose(order)


def grouped_lines(a: Array, groups: Groups, axis: Any) -> GroupedLines:
    """View an array, whose last axes have labels, as lines.

    Parameters
    ----------
    a : ndarray
    groups : Groups
    axis : int or tuple of int, optional
        The axes that are reduced, by default all that have labels.
    """
    n_lead = a.ndim - groups.codes.ndim
    codes = np.broadcast_to(groups.codes, a.shape[n_lead:])
    reduced = [*range(n_lead, a.ndim)]
    if axis is not None:
        axes = normalize_axis_tuple(axis, a.ndim, "axis")
        if min(axes, default=n_lead) < n_lead:
            raise ValueError(
                f"axis {axis} is not among the last {codes.ndim} axes, which have labels: give "
                "labels for it, or transpose the array"
            )
        reduced = sorted(axes)
    kept = [each for each in range(n_lead, a.ndim) if each not in reduced]
    order = [*kept, *reduced]
    codes = codes.transpose([each - n_lead for each in order])
    n_kept = math.prod(a.shape[each] for each in kept)
    n_groups = math.prod(groups.shape)
    n_reduced = math.prod(a.shape[each] for each in reduced)
    codes = codes.reshape(n_kept, n_reduced)
    if n_kept > 1:  # groups of their own for each index of the axes that are kept
        codes = np.where(codes == MISSING, MISSING, codes + n_groups * np.arange(n_kept)[:, None])
    smallest = min((abs(a.strides[each]) for each in order), default=0)
    inner = [each for each in range(n_lead) if abs(a.strides[each]) < smallest]
    outer = [each for each in range(n_lead) if each not in inner]
    lengths = [[a.shape[each] for each in part] for part in (outer, order, inner)]
    x = a.transpose([*outer, *order, *inner]).reshape([math.prod(part) for part in lengths])
    shape_of_groups = [*(a.shape[each] for each in kept), *groups.shape]
    shape = (*lengths[0], *shape_of_groups, *lengths[2])
    places = [*outer, *[n_lead] * len(shape_of_groups), *inner]
    axes_out = sorted(range(len(shape)), key=lambda at: (places[at], at))
    flat = np.ascontiguousarray(codes.reshape(-1))
    return GroupedLines(x, flat, n_groups * n_kept, groups.codes.ndim, n_reduced, shape, axes_out)
