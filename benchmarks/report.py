"""Write the benchmark page and its pictures from the results of a machine; measure nothing."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from harness.families import FAMILIES
from harness.records import Record, headings, read
from harness.timing import OURS, in_bytes, in_seconds, is_reference, per_item

SHOW: dict[str, Callable[[float, int], str]] = {
    "seconds": in_seconds, "bytes": in_bytes, "seconds an item": per_item,
}  # fmt: skip
# A row is lost if the quartiles do not overlap and the medians differ by more than this.
TIE = 0.05
REMARKS = "remarks.toml"

READING = f"""
Each row is an operation. Its contenders take turns in interleaved rounds, each in its own process.
The tables show medians, for {OURS} with the quartiles. In parentheses is the time, or the memory,
of a contender divided by that of {OURS}: **bold below 1**, where {OURS} loses.

A *reference* and *a plain ...* are not peers. The title of a row says what its reference is. A
plain loop reads, writes, or copies as much memory with as many threads, and *of the limit* is its
time divided by that of {OURS}. Peak memory is the growth of the processes during a call, with
shared pages counted once; it is unknown (?) for calls that are too slow to repeat. The pictures
show the same ratios with quartiles; further right is slower.

`make bench` runs all rows, `make bench QUICK=1` a part of them in five minutes. All samples are in
`{{folder}}/`.
"""


def shown(record: Record, which: str, figure: str = "median") -> str:
    return SHOW[record["unit"]](record["contenders"][which][figure], record["size"])


def ratio(record: Record, which: str) -> float | None:
    """Return the time of a contender divided by ours."""
    theirs, ours = (record["contenders"][w]["median"] for w in (which, OURS))
    return theirs / ours if theirs and ours else None


def cell(record: Record, which: str) -> str:
    """Return the cell of a contender."""
    if which not in record["contenders"]:
        return "-"
    text = shown(record, which)
    if "lines" in record["contenders"][which]:
        text += f", {record['contenders'][which]['lines']} lines"
    if which == OURS:
        return f"{text} ({shown(record, which, 'q1')} to {shown(record, which, 'q3')})"
    times = ratio(record, which)
    if times is None:
        return text
    mark = "**" if times < 1 and not is_reference(which) else ""
    return f"{text} ({mark}{times:.2f} x{mark})"


def line(record: Record) -> str:
    """Return a row for the terminal."""
    return f"{record['name']}: {record['title']}: " + ", ".join(
        f"{which} {cell(record, which)}" for which in record["contenders"]
    )


def lost(record: Record) -> list[str]:
    """Return the peers that are faster, or take less memory, the best first."""
    ours, found = record["contenders"][OURS], []
    for which, theirs in record["contenders"].items():
        apart = theirs["q3"] < ours["q1"] and theirs["median"] < (1 - TIE) * ours["median"]
        if apart and not is_reference(which):
            found.append(which)
    return sorted(found, key=lambda which: float(record["contenders"][which]["median"]))


def remarks(folder: Path) -> dict[str, str]:
    """Return the reasons why rows are lost on a machine, by patterns of their names."""
    file = folder / REMARKS
    return tomllib.loads(file.read_text()) if file.exists() else {}


def why(name: str, reasons: dict[str, str]) -> str:
    return next((text for key, text in reasons.items() if fnmatch(name, key)), "")


def losses(records: list[Record], reasons: dict[str, str]) -> Iterator[str]:
    """Yield the rows that peers win, with the reasons."""
    yield "## Where a peer is faster\n"
    yield f"Rows whose quartiles do not overlap and whose medians differ by more than {TIE:.0%}.\n"
    yield f"| row | peer | its time | {OURS} | reason |\n| --- | --- | --- | --- | --- |"
    for record in records:
        for which in lost(record):
            cells = [record["title"], which, shown(record, which), shown(record, OURS)]
            yield f"| {' | '.join(cells)} | {why(record['name'], reasons)} |"
    yield ""


def table(records: list[Record]) -> Iterator[str]:
    """Yield the table of a family, and its table of memory and page faults."""
    others = dict.fromkeys(w for r in records for w in r["contenders"] if w != OURS)
    limits = [which for which in others if which.startswith("a plain ")]
    names = [OURS, *(which for which in others if which not in limits)]
    yield f"| row | {' | '.join(names)} | of the limit | target |"
    yield "| --- " * (len(names) + 3) + "|"
    for record in records:
        share = record["share_of_limit"]
        limit = next((w for w in limits if w in record["contenders"]), "").removeprefix("a ")
        cells = [record["title"], *(cell(record, which) for which in names)]
        cells += [f"{share:.2f} of {limit}" if share else "-", record["target"] or "-"]
        yield f"| {' | '.join(cells)} |"
    yield "\n<details><summary>Peak memory and page faults</summary>\n"
    yield f"| row | {' | '.join(names)} |\n" + "| --- " * (len(names) + 1) + "|"
    for record in records:
        cells = [resources(record["contenders"].get(which)) for which in names]
        yield f"| {record['title']} | {' | '.join(cells)} |"
    yield "\n</details>\n"


def resources(figures: Record | None) -> str:
    if figures is None:
        return "-"
    peak = "?" if figures["peak_memory"] is None else in_bytes(figures["peak_memory"])
    return f"{peak}, {figures['page_faults']:,.0f}"


def page(
    folder: Path, records: list[Record], reasons: dict[str, str], pictures: dict[str, str]
) -> Iterator[str]:
    runs = sorted({r["run"]["started"]: r["run"] for r in records}.items())
    yield "# Side by side with the peers\n"
    yield "\n\n".join(dict.fromkeys("\n".join(headings(run)) for _, run in runs))
    yield READING.format(folder=folder)
    yield from losses(records, reasons)
    for family, about in FAMILIES.items():
        mine = [record for record in records if record["family"] == family]
        if mine:
            yield f"## {about.title}\n"
            yield f"{about.text}\n\n![{about.title}]({pictures[family]})\n"
            yield from table(mine)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="results of one machine")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.md")
    options = parser.parse_args(arguments)
    records, reasons = read(options.folder), remarks(options.folder)
    from harness.pictures import draw

    pictures = options.output.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = draw(records, pictures / options.output.stem)
    lines = page(options.folder, records, reasons, drawn)
    options.output.write_text("\n".join(lines).rstrip() + "\n")
    silent = [r["name"] for r in records if lost(r) and not why(r["name"], reasons)]
    if silent and not any(record["run"]["small"] for record in records):
        sys.exit(f"lost rows: {options.folder / REMARKS} gives no reason for: {', '.join(silent)}")


if __name__ == "__main__":
    main()
