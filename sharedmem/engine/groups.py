"""Groups: the number of the group of each element, and the labels of groups."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# The code of an element that is in no group.
MISSING = -1


class Groups(NamedTuple):
    """The group of each element, for one or several kinds of labels.

    Attributes
    ----------
    codes : ndarray of intp
        The number of the group of each element, or `MISSING`. With several kinds of labels, the
        groups are the cells of an array of shape `shape`, in C order.
    labels : tuple of ndarray
        The labels of the groups, per kind.
    shape : tuple of int
        The number of groups, per kind.
    """

    codes: NDArray[np.intp]
    labels: tuple[NDArray[Any], ...]
    shape: tuple[int, ...]
