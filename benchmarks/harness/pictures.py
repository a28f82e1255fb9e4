"""Draw pictures of results: ratios of the rows of a page, and times over sizes."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from harness.questions import GROWTH, shown
from harness.records import Record
from harness.timing import NUMPY, OLD, OURS, POOL, is_reference

# Common peers keep their colors; the others get the remaining ones.
COLORS = {OURS: "#000000", NUMPY: "#4477aa", POOL: "#ee6677", OLD: "#999933"}
OTHERS = ("#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#0a9396", "#774411", "#99aaff")
MARKERS = "os^vDPX*"
TAIL = 3  # points at the large end, where fixed costs no longer matter


def draw(records: list[Record], page: Path, overview: str = "") -> dict[str, str]:
    """Draw the pictures of a page; return their paths, relative to its folder.

    The picture named `overview` compares the rows that the page shows.
    """
    figures = {}
    if overview:
        figures[overview] = compared([r for name in shown() for r in records if r["name"] == name])
    for family, *_ in GROWTH:
        if mine := [record for record in records if record["family"] == family]:
            figures[family] = grown(mine)
    folder = page.parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for name, figure in figures.items():
        path = folder / f"{page.stem}-{name}.png"
        figure.savefig(path, dpi=110, bbox_inches="tight")
        names[name] = f"{folder.name}/{path.name}"
    return names


def styles(records: list[Record]) -> dict[str, tuple[str, str]]:
    """Return a color and a marker for each contender."""
    others = itertools.cycle(OTHERS)
    found: dict[str, tuple[str, str]] = {}
    for which in dict.fromkeys(w for record in records for w in record["contenders"]):
        color = "#aaaaaa" if is_reference(which) else COLORS.get(which) or next(others)
        found[which] = (color, MARKERS[len(found) % len(MARKERS)])
    return found


def compared(records: list[Record]) -> Figure:
    """Draw the time of the fastest peer divided by ours, on a logarithmic axis."""
    rows = []
    for record in records:
        peers = {w: f["median"] for w, f in record["contenders"].items() if is_peer(w)}
        ours = record["contenders"][OURS]["median"]
        best = min(peers, key=lambda which: peers[which], default=None)
        if best and ours and peers[best]:
            rows.append((record["title"], best, peers[best] / ours))
    figure = Figure(figsize=(10, 1.2 + 0.26 * len(rows)), layout="constrained")
    ax: Axes = figure.subplots()
    for y, (_, best, x) in enumerate(rows):
        color = "#ee6677" if x < 1 else "#4477aa"
        ax.barh(y, x - 1, left=1, color=color, height=0.7)
        ax.annotate(
            f"{x:.2g} x, {best}" if x < 10 else f"{x:,.0f} x, {best}", (max(x, 1), y), (4, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ratios = [x for *_, x in rows]
    low, high = min([0.6, *ratios]), max([2.0, *ratios])
    ax.set_xlim(0.8 * low, 12 * high)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 20 else (1,)))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(rows)), [textwrap.shorten(r[0], 64) for r in rows], fontsize=8)
    ax.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    ax.grid(alpha=0.3, axis="x")
    ax.set_xlabel(f"time, or memory, of the fastest peer divided by that of {OURS}")
    return figure


def is_peer(which: str) -> bool:
    return which != OURS and not is_reference(which)


def abscissa(record: Record) -> int:
    return int(record["name"].rpartition("-")[2])


def exponent(sizes: list[int], values: list[float]) -> float:
    """Return the slope of the last points in log-log scale."""
    return float(np.polyfit(np.log(sizes[-TAIL:]), np.log(values[-TAIL:]), 1)[0])


def grown(records: list[Record]) -> Figure:
    """Draw seconds over the number in each row's name, with quartiles, one panel per curve."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["name"].rpartition("-")[0], []).append(record)
    n_rows = -(-len(groups) // 2)
    figure = Figure(figsize=(11, 4.2 * n_rows), layout="constrained")
    axes: Any = figure.subplots(n_rows, 2, squeeze=False).ravel()
    style = styles(records)
    for ax, points in itertools.zip_longest(axes, groups.values()):
        if points is None:
            ax.set_axis_off()
            continue
        for which in dict.fromkeys(w for record in points for w in record["contenders"]):
            there = [record for record in points if which in record["contenders"]]
            sizes = [abscissa(record) for record in there]
            figures = [record["contenders"][which] for record in there]
            low, y, high = (np.array([f[k] for f in figures]) for k in ("q1", "median", "q3"))
            label = which
            if len(sizes) >= TAIL:
                label += f": exponent {exponent(sizes, y.tolist()):.2f}"
            ax.errorbar(
                sizes, y, yerr=(y - low, high - y), fmt=f"{style[which][1]}-",
                color=style[which][0], label=label, markersize=5, capsize=2, linewidth=1,
            )  # fmt: skip
        parts = (record["title"].rpartition(": ") for record in points)
        titles, _, ticks = zip(*parts, strict=True)
        ax.set(xscale="log", yscale="log", xlabel=titles[0], ylabel="seconds per call")
        ax.set_xticks([abscissa(record) for record in points], ticks)
        ax.tick_params(axis="x", labelsize=7, rotation=20)
        ax.minorticks_off()
        ax.grid(alpha=0.3)
        ax.set_ylim(top=10 * ax.get_ylim()[1])  # room for the legend
        ax.legend(frameon=False, loc="upper left", fontsize=8)
    figure.suptitle(f"Exponents of the last {TAIL} points", fontsize=10)
    return figure
