"""A trace as HTML for notebooks: a timeline in SVG, and the figures in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.machine.markup import number, picture, table, text
from sharedmem.pool.trace_summary import COLORS, NAMES, TraceSummary, label
from sharedmem.workers.recorder import Activity, Event

Array = NDArray[Any]
Place = Callable[[float], float]

_WIDTH, _LEFT, _TOP = 900, 70, 30
# Of the rows of workers: the pictures of few and of many workers have about the same height.
_HEIGHT, _LARGEST_ROW, _SMALLEST_ROW = 640, 26, 4
# Up to so many events have a bar and a tooltip each.
_FEW_EVENTS = 500
# Of more, what is left of the height of a row in steps, and a limit on the size of the picture.
_LEVELS, _MOST_COLUMNS = 8, 20_000


def timeline(
    workers: Sequence[Sequence[Event]], start: float, stop: float, summary: TraceSummary
) -> str:
    """Return a picture of the events of workers, a legend, and a table of figures."""
    rows = (
        (str(rank), f"{busy:.0%}", f"{ordered:.3g} s", f"{critical:.3g} s", size)
        for rank, busy, ordered, critical, size in summary.rows()
    )
    head = ("worker", "busy", "waited for ordered", "for critical", "memory")
    slowest = (
        (label(event), f"{event.stop - event.start:.3g} s", f"{event.start - start:.3g} s")
        for event in summary.slowest
    )
    side_by_side = "display:flex;gap:24px;flex-wrap:wrap;align-items:flex-start"
    return (
        f'<div style="color:inherit"><div>{escape(summary.headline())}</div>'
        f"{_picture(workers, start, stop, summary.headline())}"
        f'<div style="{side_by_side}">{table(rows, head)}'
        f"{table(slowest, ('slowest', 'time', 'began at'))}</div></div>"
    )


def _picture(workers: Sequence[Sequence[Event]], start: float, stop: float, headline: str) -> str:
    height = min(max(_HEIGHT / len(workers), _SMALLEST_ROW), _LARGEST_ROW)
    scale = (_WIDTH - _LEFT - 10) / max(stop - start, 1e-9)
    is_few = sum(map(len, workers)) <= _FEW_EVENTS
    parts = [*_legend()]
    every = -(-14 // int(height))  # numbers of workers have room
    for rank, events in enumerate(workers):
        y = _TOP + rank * height
        if rank % every == 0:
            parts.append(text(_LEFT - 6, y + height / 2 + 4, f"worker {rank}", "end"))
        if is_few:
            parts += _bars(events, y, height, lambda time: _LEFT + (time - start) * scale)
    if not is_few:
        parts += _columns(workers, start, stop, height)
    bottom = _TOP + len(workers) * height
    parts += _axis(bottom, (stop - start), scale)
    return picture(_WIDTH, bottom + 34, parts, headline)


def _legend() -> Iterator[str]:
    x = float(_LEFT)
    for name, color in zip(NAMES, COLORS, strict=True):
        yield f'<rect x="{number(x)}" y="8" width="12" height="12" fill="{color}"/>'
        yield text(x + 17, 18, name)
        x += 40 + 6.5 * len(name)


def _bars(events: Sequence[Event], y: float, height: float, place: Place) -> Iterator[str]:
    """Yield bars with tooltips: waits lie upon the tasks that they are in."""
    for event in sorted(events, key=lambda event: event.activity):
        x, stop = place(event.start), place(event.stop)
        yield (
            f'<rect x="{number(x)}" y="{number(y + 1)}" width="{max(stop - x, 0.5):.2f}" '
            f'height="{number(height - 2)}" fill="{COLORS[event.activity]}" '
            f'stroke="currentColor" stroke-width="0.3"><title>'
            f"{escape(label(event))}: {event.stop - event.start:.3g} s</title></rect>"
        )


def _columns(
    workers: Sequence[Sequence[Event]], start: float, stop: float, height: float
) -> Iterator[str]:
    """Yield paths for many events: columns whose heights are the shares of time in them."""
    n = min(_WIDTH - _LEFT - 10, _MOST_COLUMNS // len(workers))
    edges, width = np.linspace(start, stop, n + 1), (_WIDTH - _LEFT - 10) / n
    for rank, events in enumerate(workers):
        bottom = _TOP + (rank + 1) * height - 1
        tasks, ordered, critical = (_shares(events, activity, edges) for activity in Activity)
        # From the lowest to the tallest, and what is covered by a lower one is left out.
        tops = tasks - critical - ordered, tasks - critical, tasks
        below = np.zeros(n, int)
        paths = []
        for top, activity in zip(tops, Activity, strict=True):
            levels = np.ceil(np.clip(top, 0, 1) * _LEVELS - 1e-6).astype(int)
            for level in range(1, _LEVELS + 1):
                if path := _path((levels == level) & (levels > below)):
                    size = (height - 2) * level / _LEVELS
                    place = f"translate({_LEFT} {number(bottom - size / 2)}) scale({width:.4f} 1)"
                    paths.append(
                        f'<path transform="{place}" d="{path}" stroke="{COLORS[activity]}" '
                        f'stroke-width="{number(size)}"/>'
                    )
            below = np.maximum(below, levels)
        yield from reversed(paths)


def _shares(events: Sequence[Event], activity: Activity, edges: Array) -> Array:
    """Return the share of an activity in the time between two edges each."""
    times = [(event.start, event.stop) for event in events if event.activity == activity]
    if not times:
        return np.zeros(len(edges) - 1)
    bounds = np.array(sorted(times))
    spent = np.cumsum(bounds[:, 1] - bounds[:, 0])
    before = np.stack([spent - (bounds[:, 1] - bounds[:, 0]), spent], axis=1)
    until: Array = np.interp(edges, np.maximum.accumulate(bounds.reshape(-1)), before.reshape(-1))
    return np.diff(until) / np.diff(edges)


def _path(is_in: NDArray[np.bool]) -> str:
    """Return a path with a line for each run of columns that are in it."""
    ends = np.flatnonzero(np.diff(is_in, prepend=False, append=False)).reshape(-1, 2)
    return "".join(f"M{first} 0h{last - first}" for first, last in ends.tolist())


def _axis(y: float, seconds: float, scale: float) -> Iterator[str]:
    """Yield the axis of time, with ticks at 1, 2, or 5 times a power of ten."""
    yield f'<path d="M{_LEFT} {number(y + 2)}H{_WIDTH - 10}" stroke="currentColor"/>'
    power = 10.0 ** math.floor(math.log10(max(seconds, 1e-9) / 8))
    step = power * next(n for n in (1, 2, 5, 10) if seconds <= 9 * n * power)
    unit, name = (1, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")
    for tick in range(int(seconds / step) + 1):
        x = _LEFT + tick * step * scale
        yield f'<path d="M{number(x)} {number(y + 2)}v4" stroke="currentColor"/>'
        yield text(x, y + 18, f"{tick * step * unit:g}", "middle")
    yield text(_WIDTH - 10, y + 31, f"{name} since the call", "end")
