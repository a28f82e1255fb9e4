"""Draw pictures of results: ratios within a family, and times over sizes."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from harness.families import FAMILIES
from harness.records import Record, headings
from harness.timing import NUMPY, OLD, OURS, POOL, is_reference

# Common peers keep their colors; the others get the remaining ones.
COLORS = {OURS: "#000000", NUMPY: "#4477aa", POOL: "#ee6677", OLD: "#999933"}
OTHERS = ("#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#0a9396", "#774411", "#99aaff")
MARKERS = "os^vDPX*"
TAIL = 3  # points at the large end, where fixed costs no longer matter
GROWING = ("growth", "scaling")


def draw(records: list[Record], stem: Path) -> dict[str, str]:
    """Draw a picture for each family; return their paths, relative to the folder of the page."""
    names = {}
    for family in FAMILIES:
        mine = [record for record in records if record["family"] == family]
        if mine:
            last = max((record["run"] for record in mine), key=lambda run: str(run["started"]))
            caption = "\n".join(headings(last))
            figure = (grown if family in GROWING else compared)(mine, FAMILIES[family].title)
            figure.text(0.01, 0.0, textwrap.fill(caption, 190), fontsize=6, va="top")
            path = stem.with_name(f"{stem.name}-{family}.png")
            figure.savefig(path, dpi=110, bbox_inches="tight")
            names[family] = f"{path.parent.name}/{path.name}"
    return names


def styles(records: list[Record]) -> dict[str, tuple[str, str]]:
    """Return a color and a marker for each contender."""
    others = itertools.cycle(OTHERS)
    found: dict[str, tuple[str, str]] = {}
    for which in dict.fromkeys(w for record in records for w in record["contenders"]):
        color = "#aaaaaa" if is_reference(which) else COLORS.get(which) or next(others)
        found[which] = (color, MARKERS[len(found) % len(MARKERS)])
    return found


def compared(records: list[Record], title: str) -> Figure:
    """Draw the time of each contender divided by ours, on a logarithmic axis, with quartiles."""
    figure = Figure(figsize=(9, 1.6 + 0.36 * len(records)), layout="constrained")
    ax: Axes = figure.subplots()
    for which, (color, marker) in styles(records).items():
        points = []
        for y, record in enumerate(records):
            ours, figures = record["contenders"][OURS], record["contenders"].get(which)
            if figures and figures["median"] and ours["median"]:
                points.append((y, *(figures[k] / ours["median"] for k in ("q1", "median", "q3"))))
        if points:
            y, low, x, high = np.array(points).T
            face = "none" if is_reference(which) else color
            ax.errorbar(
                x, y, xerr=(x - low, high - x), fmt=marker, color=color, label=which,
                markerfacecolor=face, markersize=6, capsize=2, linewidth=1,
            )  # fmt: skip
    ax.axvline(1, color="black", linewidth=0.8)
    ax.axvspan(1e-9, 1, color="#ee6677", alpha=0.08, zorder=0)
    ax.set_xscale("log")
    spread = [x for line in ax.lines for x in np.atleast_1d(line.get_xdata()).tolist()]
    ax.set_xlim(min(0.4, 0.8 * min(spread)), max(2.5, 1.3 * max(spread)))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ax.get_xlim()[1] < 20 else (1,)))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(records)), [textwrap.fill(r["title"], 58) for r in records], fontsize=8)
    ax.set_ylim(len(records) - 0.5, -0.5)
    ax.grid(alpha=0.3, which="both", axis="x")
    ax.set_xlabel(f"time or memory divided by that of {OURS} ({OURS} loses in the tinted part)")
    ax.set_title(title, loc="left")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def abscissa(record: Record) -> int:
    return int(record["name"].rpartition("-")[2])


def exponent(sizes: list[int], values: list[float]) -> float:
    """Return the slope of the last points in log-log scale."""
    return float(np.polyfit(np.log(sizes[-TAIL:]), np.log(values[-TAIL:]), 1)[0])


def grown(records: list[Record], title: str) -> Figure:
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
    figure.suptitle(f"{title}; exponents of the last {TAIL} points", fontsize=10)
    return figure
