"""Arrays and grids as HTML for notebooks: their figures, and a picture of their chunks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from sharedmem.arrays.chunks import Grid, chunks, cuts_of
from sharedmem.machine.markup import number, picture, table, text
from sharedmem.machine.proc import resident_between
from sharedmem.machine.units import in_bytes

if TYPE_CHECKING:  # which imports this module
    from sharedmem.arrays.shared_array import SharedArray
    from sharedmem.memory.segments import Segment

# More values are too many to read.
_MOST_VALUES = 100
# Where an axis is cut, its ends included.
Cuts = Sequence[int]

# The longest side of an array in a picture, and the shortest, which could else not be seen.
_LONGEST, _SHORTEST = 150, 16
_DOT, _BAR = 16, 28
# More lines would lie upon each other: every second is drawn then, or fewer.
_MOST_LINES = 24
_MARGIN = 44
_FACE = 'fill="#4477aa" fill-opacity="{}" stroke="currentColor"'
_LINE = 'stroke="currentColor" stroke-width="0.5" fill="none"'


def of_array(array: SharedArray, segment: Segment) -> str:
    """Return the figures of a shared array, and a picture of it with its chunks.

    Its elements are read, to show those of a small array, only where all of its memory is there:
    to read others would allocate it.
    """
    rows = [
        ("shape", _tuple(array.shape)),
        ("dtype", str(array.dtype)),
        ("size", in_bytes(array.nbytes)),
        ("order", _order(array)),
    ]
    is_small = segment.blocks is not None  # and shares pages with others
    if array.nbytes < segment.nbytes and not is_small:
        rows.append(("view of", in_bytes(segment.nbytes)))
    memory = resident_between(segment.address, segment.address + segment.nbytes)
    if memory is not None and not is_small:
        rows += [
            ("in memory", in_bytes(memory.present)),
            ("on huge pages", in_bytes(memory.huge)),
            ("mapped by other processes", in_bytes(memory.shared)),
        ]
    cuts: list[Cuts] = [(0, length) for length in array.shape]
    grid = chunks(array, () if array.ndim == 0 else 0)
    if len(grid) > 1:
        rows.append(("chunks by default", f"{len(grid)} along axis 0"))
        cuts[0] = cuts_of(grid, _MOST_LINES)[0]
    values = ""
    is_there = memory is not None and memory.present >= segment.nbytes
    if array.size <= _MOST_VALUES and (is_small or is_there):
        values = f"<pre>{escape(str(array))}</pre>"
    return _side_by_side(table(rows), _drawing(cuts)) + values


def of_grid(grid: Grid) -> str:
    """Return the figures of a grid, and a picture of the axes that it cuts."""
    cuts = cuts_of(grid, _MOST_LINES)
    rows = [
        ("chunks", f"{len(grid)} of {math.prod(grid.counts)}"),
        ("axes", _tuple(cuts)),
        ("lengths", _tuple(grid.extents)),
        ("chunks along each", _tuple(grid.counts)),
    ]
    if math.prod(grid.counts):
        first = dataclasses.replace(grid, overlap=(0,) * len(cuts), indices=range(1))[0]
        rows.append(("largest chunk", _tuple(first[axis].stop for axis in cuts)))
    if any(grid.overlap):
        rows.append(("overlap", _tuple(grid.overlap)))
    return _side_by_side(table(rows), _drawing([*cuts.values()]))


def _side_by_side(figures: str, drawing: str) -> str:
    style = "display:flex;gap:24px;flex-wrap:wrap;align-items:flex-start;color:inherit"
    return f'<div style="{style}">{figures}{drawing}</div>'


def _tuple(numbers: Iterable[int]) -> str:
    return str(tuple(numbers))


def _order(array: SharedArray) -> str:
    flags = array.flags
    if flags.c_contiguous and flags.f_contiguous:
        return "contiguous"
    if flags.c_contiguous or flags.f_contiguous:
        return "C" if flags.c_contiguous else "Fortran"
    return f"strides of {_tuple(array.strides)} bytes"


def _drawing(cuts: Sequence[Cuts]) -> str:
    """Return a picture of axes: up to three in one block, and more side by side."""
    n_first = len(cuts) % 3 or min(3, len(cuts))
    groups = [cuts[:n_first], *(cuts[at : at + 3] for at in range(n_first, len(cuts), 3))]
    longest = max((found[-1] for found in cuts), default=1)
    parts: list[str] = []
    x, height = 8.0, 0.0
    for group in groups:
        block, width, group_height = _block(group, longest, x)
        parts += block
        x += width + _MARGIN
        height = max(height, group_height)
    lengths = " by ".join(str(found[-1]) for found in cuts)
    return picture(x + 16, height + _MARGIN, parts, f"array of {lengths or 'one element'}")


def _block(cuts: Sequence[Cuts], longest: int, left: float) -> tuple[list[str], float, float]:
    """Return the parts of a block of up to three axes, the first to the back; width and height."""
    depth, height, width = (
        _scaled(found, longest) for found in [*[(0, 0)] * (3 - len(cuts)), *cuts]
    )
    if len(cuts) < 2:
        height = [0, _BAR if cuts else _DOT]
    if not cuts:
        width = [0, _DOT]
    depth = [0.6 * z for z in depth] if len(cuts) == 3 else [0]
    a, h, w = depth[-1], height[-1], width[-1]
    faces = (
        [
            ("0.3", [(0, 0), (w, 0), (w + a, a), (a, a)]),
            ("0.2", [(0, 0), (a, a), (a, a + h), (0, h)]),
        ]
        if a
        else []
    )
    faces.append(("0.45", [(a, a), (w + a, a), (w + a, a + h), (a, a + h)]))
    parts = [
        f'<path d="{_polygon(corners, left)}Z" {_FACE.format(opacity)}/>'
        for opacity, corners in faces
    ]
    inner = [
        *([(x, 0), (x + a, a), (x + a, a + h)] for x in width[1:-1]),
        *([(0, y), (a, y + a), (w + a, y + a)] for y in height[1:-1]),
        *([(z, z + h), (z, z), (z + w, z)] for z in depth[1:-1]),
    ]
    if inner:
        parts.append(f'<path d="{"".join(_polygon(line, left) for line in inner)}" {_LINE}/>')
    if cuts:
        parts.append(text(left + a + w / 2, 4 + a + h + 14, str(cuts[-1][-1]), "middle"))
    if len(cuts) > 1:
        parts.append(text(left + a + w + 5, 4 + a + h / 2 + 4, str(cuts[-2][-1])))
    if len(cuts) > 2:
        parts.append(text(left + a / 2 - 4, 4 + h + a / 2 + 12, str(cuts[-3][-1]), "end"))
    return parts, a + w, a + h


def _scaled(cuts: Cuts, longest: int) -> list[float]:
    """Return the places of cuts in a picture, where lengths differ less than in the array."""
    length = cuts[-1]
    side = max(_LONGEST * math.sqrt(length / max(longest, 1)), _SHORTEST)
    return [side * cut / max(length, 1) for cut in cuts[:-1]] + [side]


def _polygon(corners: Iterable[tuple[float, float]], left: float) -> str:
    return "M" + "L".join(f"{number(left + x)} {number(4 + y)}" for x, y in corners)
