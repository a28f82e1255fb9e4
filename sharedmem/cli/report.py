"""The output of `sharedmem stats`: text, JSON, and pictures."""

from __future__ import annotations

import json
import math
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.cli.inputs import Skipped
from sharedmem.cli.statistics import Statistics
from sharedmem.kernels.moments import Summary
from sharedmem.machine.units import in_bytes

# A longer table shows its first and last lines.
SHOWN_LINES = 20
_LABELS = [{"n_nan": "NaN", "n_inf": "inf"}.get(name, name) for name in Summary._fields]
# A legend beside the data.
_BESIDE: dict[str, Any] = {"frameon": False, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
_EIGHTHS = "▏▎▍▌▋▊▉█"


def as_text(found: Statistics) -> str:
    """Return the statistics of one array as text."""
    array = found.array
    rows = [["shape", _shape(found)], ["dtype", f"{array.dtype}, {in_bytes(array.nbytes)}"]]
    lines = [array.name]
    if found.axis is None:
        values = map(_number, found.summary)
        lines += _aligned([*rows, *zip(_LABELS, values, strict=True)], "<")
        lines += ["", *_histogram(found)] if not found.remark else ["", f"  {found.remark}"]
    else:
        rows.append(["axis", str(found.axis)])
        lines += [*_aligned(rows, "<"), "", *_table(found.summary)]
    return "\n".join([*lines, ""])


def throughput(described: Sequence[Statistics]) -> str:
    """Return the closing line."""
    nbytes = sum(found.nbytes_read(1) for found in described)
    nbytes_read = sum(found.nbytes_read(found.passes) for found in described)
    seconds = sum(found.seconds for found in described)
    twice = " twice (once with --range LO HI)" if nbytes_read > nbytes else ""
    speed = nbytes_read / seconds / 1e9
    return f"Read {in_bytes(nbytes)}{twice} in {seconds:.3g} s: {speed:.3g} GB/s"


def as_json(described: Sequence[Statistics], skipped: Sequence[Skipped] = ()) -> str:
    """Return one JSON object for all arrays, with null for numbers that are not finite."""
    arrays = []
    for found in described:
        counts, edges = found.counts, found.edges
        histogram = None if counts is None else {"counts": counts.tolist(), "edges": edges.tolist()}
        entry = {
            "name": found.array.name,
            "shape": found.array.shape,
            "dtype": str(found.array.dtype),
            "nbytes": found.array.nbytes,
            "axis": found.axis,
            **{name: _plain(value) for name, value in found.summary._asdict().items()},
            "histogram": histogram,
            "remark": found.remark,
            "passes": found.passes,
            "seconds": found.seconds,
        }
        arrays.append(entry)
    left_out = [{"name": part.name, "reason": part.reason} for part in skipped]
    return json.dumps({"arrays": arrays, "left_out": left_out}, indent=2, allow_nan=False)


def save_picture(described: Sequence[Statistics], path: Path) -> None:
    """Draw a panel per array: the histogram, or with an axis the statistics of the lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5 * len(described)), layout="constrained")
    panels = figure.subplots(len(described), squeeze=False)[:, 0]
    for panel, found in zip(panels, described, strict=True):
        array = found.array
        size = f"{_shape(found)} {array.dtype}, {in_bytes(array.nbytes)}"
        name = Path(array.name).name if array.reads is None else array.name
        name = name.encode("utf-8", "backslashreplace").decode()
        panel.set_title(f"{name}: {size}", loc="left", parse_math=False)
        panel.spines[["top", "right"]].set_visible(False)
        if found.axis is not None:
            draw_lines(panel, found)
        elif found.counts is not None:
            _draw_histogram(panel, found)
        else:
            panel.set_axis_off()
            panel.text(0.5, 0.5, found.remark, ha="center", transform=panel.transAxes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font may lack characters of a name
        figure.savefig(path, dpi=120)


def _draw_histogram(panel: Any, found: Statistics) -> None:
    summary = found.summary
    panel.stairs(found.counts, found.edges, fill=True, color="#4477aa")
    panel.axvline(summary.mean, color="#bb5566", label=f"mean {_number(summary.mean, 4)}")
    low, high = summary.mean - summary.std, summary.mean + summary.std
    panel.axvspan(low, high, color="#f2dde0", zorder=0, label=f"± std {_number(summary.std, 4)}")
    limits = (found.edges[0], found.edges[-1])
    panel.set(xlabel="value", ylabel="elements in bin", xlim=limits)
    panel.legend(**_BESIDE, title=remarks(found))


def remarks(found: Statistics) -> str:
    """Return the text above a legend: shape parameters, and the numbers of elements not drawn."""
    summary = found.summary
    parts = [f"skew {_number(summary.skew, 4)}, kurtosis {_number(summary.kurtosis, 4)}"]
    counted = (("NaN", summary.n_nan), ("inf", summary.n_inf), ("outside", found.n_outside))
    parts += [f"{_number(number)} {name}" for name, number in counted if number]
    return "\n".join(parts)


def draw_lines(panel: Any, found: Statistics) -> None:
    """Draw mean, standard deviation, and extrema of the lines along an axis."""
    summary = Summary(*(np.ravel(value) for value in found.summary))
    at = np.arange(len(summary.mean))
    panel.fill_between(at, summary.min, summary.max, alpha=0.2, color="#4477aa", label="min to max")
    low, high = summary.mean - summary.std, summary.mean + summary.std
    panel.fill_between(at, low, high, alpha=0.4, color="#4477aa", label="mean ± std")
    panel.plot(at, summary.mean, color="#bb5566", label="mean")
    panel.set(xlabel=f"line along axis {found.axis}", ylabel="value")
    panel.xaxis.get_major_locator().set_params(integer=True)
    shape = np.shape(found.summary.mean)
    panel.xaxis.set_major_formatter(lambda line, _: _name_of(int(line), shape))
    panel.legend(**_BESIDE)


def _histogram(found: Statistics) -> Iterator[str]:
    counts, edges = found.counts, found.edges
    digits = max(4, 1 + math.ceil(math.log10(np.abs(edges).max() / (edges[1] - edges[0]) + 1)))
    labels = [f"{edge:.{digits}g}" for edge in edges]
    width = max(map(len, labels))
    numbers = [_number(count) for count in counts]
    number_width = max(map(len, numbers))
    room = max(10, shutil.get_terminal_size().columns - 2 * width - number_width - 9)
    for i, count in enumerate(counts):
        closing = "]" if i == len(counts) - 1 else ")"
        bar = _bar(count / max(1, counts.max()), room)
        interval = f"[{labels[i]:>{width}}, {labels[i + 1]:>{width}}{closing}"
        yield f"  {interval} {numbers[i]:>{number_width}} {bar}".rstrip()
    if found.n_outside:
        yield f"  {'outside':<{2 * width + 4}} {_number(found.n_outside):>{number_width}}"


def _bar(fraction: float, room: int) -> str:
    """Return a bar in eighths of a character, at least one of them if `fraction` is not 0."""
    full, rest = divmod(math.ceil(fraction * room * 8), 8)
    bar = "█" * full + (_EIGHTHS[rest - 1] if rest else "")
    try:
        bar.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#" * math.ceil(fraction * room)
    return bar


def _table(summary: Summary) -> list[str]:
    shape = np.shape(summary.mean)
    columns: list[NDArray[Any]] = [np.ravel(value) for value in summary]
    n_lines, half = columns[0].size, SHOWN_LINES // 2
    shown: Sequence[int] = range(n_lines)
    if n_lines > SHOWN_LINES:
        shown = [*shown[:half], *shown[-half:]]
    rows = [["line", *_LABELS]]
    rows += ([_name_of(line, shape), *(_number(x[line]) for x in columns)] for line in shown)
    if n_lines > SHOWN_LINES:
        rows.insert(1 + half, ["..."] * len(rows[0]))
    return _aligned(rows, ">")


def _aligned(rows: Sequence[Sequence[str]], side: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ([f"{cell:{side}{n}}" for cell, n in zip(row, widths, strict=True)] for row in rows)
    return ["  " + "  ".join(cells).rstrip() for cells in lines]


def _shape(found: Statistics) -> str:
    return " x ".join(map(str, found.array.shape)) or "()"


def _number(value: Any, digits: int = 6) -> str:
    if np.asarray(value).dtype.kind in "biu":
        return f"{int(value):,}"
    return "-" if np.isnan(value) else f"{value:.{digits}g}"


def _name_of(line: int, shape: tuple[int, ...]) -> str:
    """Return the index of a line, or nothing beyond the last one."""
    if not 0 <= line < math.prod(shape):
        return ""
    return ", ".join(map(str, np.unravel_index(line, shape))) or "all"


def _plain(value: Any) -> Any:
    """Return numbers, or an array of them, for JSON: null where they are not finite."""
    plain = np.asarray(value).astype(object)
    plain[~np.isfinite(value)] = None
    return plain.tolist()
