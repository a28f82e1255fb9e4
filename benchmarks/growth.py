"""Draw how the pool's time grows with tasks, bytes and workers, beside its peers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import sharedmem
from contenders import by_ours, by_pool, negative
from timing import (
    GIB,
    KIB,
    MEMORY_SHARE,
    OLD,
    OURS,
    POOL,
    Call,
    Row,
    SetUp,
    heading,
    in_bytes,
    in_seconds,
    measure,
    options_of,
)

COLORS = {OURS: "#4477aa", POOL: "#ee6677", OLD: "#999933"}
# Seconds: a contender leaves its curve after a point that took longer.
LONGEST = 1.0
# A result is in the worker, on its way and in the coordinator; each contender has one.
COPIES = 4
TAIL = 3  # points, at the large end, where what is constant no longer counts


def by_as_many_workers(n: int) -> Call:
    return by_ours(negative, range, n)(n)


def by_as_many_pool_workers(n: int) -> Call:
    return by_pool(negative, range, n)(n)


def result_of(n: int) -> np.ndarray:
    return np.ones(n, "u1")


def one(n: int) -> list[int]:
    return [n]


ours, pool = by_ours(negative, range, 2), by_pool(negative, range, 2)
our_result, pool_result = by_ours(result_of, one, 2), by_pool(result_of, one, 2)
many: SetUp = by_as_many_workers
ROWS = {
    "tasks": Row("trivial tasks, np=2", 10**6, 1000, {OURS: ours, POOL: pool, OLD: ours}),
    "bytes": Row(
        "bytes of one result, np=2", 3 * GIB, 16 * KIB,
        {OURS: our_result, POOL: pool_result, OLD: our_result}, warms_up=True,
    ),
    "workers": Row(
        "workers, a task for each", 64, 4, {OURS: many, POOL: by_as_many_pool_workers, OLD: many}
    ),
}  # fmt: skip
FIRST_AND_FACTOR = {"tasks": (100, 10), "bytes": (KIB, 8), "workers": (1, 2)}


class Curve(NamedTuple):
    """The seconds of a contender over the sizes that it has reached."""

    sizes: list[int]
    seconds: list[float]

    def exponent(self) -> float:
        """Return the slope of the large end in the log-log plane."""
        x, y = np.log(self.sizes[-TAIL:]), np.log(self.seconds[-TAIL:])
        return float(np.polyfit(x, y, 1)[0])


def sizes_of(name: str, largest: int) -> list[int]:
    """Return sizes in equal ratios, and the largest one."""
    size, factor = FIRST_AND_FACTOR[name]
    sizes = []
    while size <= largest / 2:
        sizes.append(size)
        size *= factor
    return [*sizes, largest]


def size_text(name: str, size: int) -> str:
    return in_bytes(size) if name == "bytes" else f"{size:,}"


def curves_of(name: str, largest: int, options: argparse.Namespace) -> dict[str, Curve]:
    curves = {which: Curve([], []) for which in ROWS[name].contenders}
    late: set[str] = set()
    for size in sizes_of(name, largest):
        found = measure(ROWS, name, size, options.rounds, options.old_python, frozenset(late))
        for which, seconds in found.items():
            curves[which].sizes.append(size)
            curves[which].seconds.append(seconds)
            if seconds > LONGEST and which != OURS:
                late.add(which)
    return {which: curve for which, curve in curves.items() if curve.sizes}


def table(name: str, curves: dict[str, Curve]) -> Iterator[str]:
    yield f"| {ROWS[name].title} | {' | '.join(curves)} |"
    yield "| --- " * (len(curves) + 1) + "|"
    for k, size in enumerate(curves[OURS].sizes):
        cells = [
            in_seconds(curve.seconds[k]) if k < len(curve.seconds) else "-"
            for curve in curves.values()
        ]
        yield f"| {size_text(name, size)} | {' | '.join(cells)} |"
    exponents = [f"{curve.exponent():.2f}" for curve in curves.values()]
    yield f"| exponent of the last {TAIL} | {' | '.join(exponents)} |\n"


def draw(found: dict[str, dict[str, Curve]], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(found), 4.4), layout="constrained")
    axes: Any = figure.subplots(1, len(found), squeeze=False)[0]
    for ax, (name, curves) in zip(axes, found.items(), strict=True):
        for which, curve in curves.items():
            label = f"{which}: exponent {curve.exponent():.2f}"
            ax.loglog(curve.sizes, curve.seconds, "o-", color=COLORS[which], label=label)
        ax.set(xlabel=ROWS[name].title, ylabel="seconds of a call")
        sizes = curves[OURS].sizes
        ax.set_xticks(sizes, [size_text(name, size) for size in sizes])
        ax.tick_params(axis="x", rotation=30 if name == "bytes" else 0, which="major", labelsize=8)
        ax.minorticks_off()
        ax.grid(alpha=0.3)
        ax.set_ylim(top=10 * ax.get_ylim()[1])  # room for the legend
        ax.legend(frameon=False, loc="upper left")
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-bytes", type=int, default=3 * GIB, help="of the largest result")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw the curves")
    options = options_of(parser, ROWS, arguments)
    lines = [heading(options) + "\n"]
    print(lines[0])
    found = {}
    for name in options.only:
        largest = ROWS[name].quick_size if options.quick else ROWS[name].size
        if name == "bytes":
            room = int(MEMORY_SHARE * sharedmem.available_memory()) // COPIES
            largest = min(largest, options.max_bytes, room)
        found[name] = curves_of(name, largest, options)
        for line in table(name, found[name]):
            print(line, flush=True)
            lines.append(line)
    if options.output is not None:
        options.output.write_text("\n".join(lines) + "\n")
    if options.plot is not None:
        draw(found, f"{lines[0].strip()} Exponents: last {TAIL} points.", options.plot)


if __name__ == "__main__":
    main()
