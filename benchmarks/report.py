"""Write the pages of benchmarks from the results of one run; measure nothing."""

from __future__ import annotations

import argparse
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from harness.contenders import DASK, PRANGE
from harness.families import FAMILIES
from harness.questions import GROWTH, QUESTIONS, README
from harness.records import Record, headings, read
from harness.timing import BENCHMARKS, NUMPY, OURS, in_bytes, in_seconds, is_reference, per_item

SHOW: dict[str, Callable[[float, int], str]] = {
    "seconds": in_seconds, "bytes": in_bytes, "seconds an item": per_item,
}  # fmt: skip
# A row is lost if the quartiles do not overlap and the medians differ by more than this.
TIE = 0.05
REMARKS = "remarks.toml"
README_BEGINS, README_ENDS = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
LINE = 128
UNEXPLAINED = "Not yet explained"

INTRODUCTION = f"""
Each table answers one question with a few rows. [All rows](tables.md) have a page of their own, and
so has a [machine of 16 cores](16-cores.md), which was measured at an older commit.

Times are medians. A number with an x is the time of that package divided by the time of {OURS}:
2 x takes twice as long. **Bold** numbers are below 1: that package is faster than {OURS} by more
than {TIE:.0%}, with quartiles that do not overlap. The section
[Where a peer is faster](#where-a-peer-is-faster) lists all such rows by cause.
"""
HOW = """
## How this was measured

Each row is one operation. Its contenders take turns in interleaved rounds, each in its own process,
so that none pays for the memory or the imports of another, and a slow minute of the machine meets
all of them. The first turn is not counted, since it may compile. The results of all contenders are
compared. A contender whose turn takes more than 3 s runs once. Files are in the page cache. A
*reference* is not a peer: the title of its row says what it is.

Compare ratios, not milliseconds: those of another machine differ. All figures of a page come from
one run, at one commit, on one machine.

## Run it

```console
$ make bench                # all rows, 40 minutes: close other programs first
$ make bench RESUME=1       # continue an interrupted run
$ make bench QUICK=1        # some rows, five minutes; does not change this page
$ .venv-bench/bin/python benchmarks/run.py --only 'reductions/sum*' orders
$ .venv-bench/bin/python benchmarks/run.py --only large   # inputs of 1 to 30 GB: minutes
```

All samples are in `{folder}/`.
"""
READING = f"""
All rows of one run, by family. The [benchmark page](index.md) shows a choice of them and the causes
of losses. The tables show medians, for {OURS} with the quartiles. In parentheses is the time, or
the memory, of a contender divided by that of {OURS}: **bold below 1**, where {OURS} loses.

A *reference* and *a plain ...* are not peers. The title of a row says what its reference is. A
plain loop reads, writes, or copies as much memory with as many threads, and *of the limit* is its
time divided by that of {OURS}. Peak memory is the growth of the processes during a call, with
shared pages counted once; it is unknown (?) for calls that are too slow to repeat. All samples are
in `{{folder}}/`.
"""


class Cause(NamedTuple):
    """A cause of losses: its heading, its explanation, and patterns of the rows that it fits."""

    title: str
    text: str
    rows: list[str]


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


def causes(folder: Path) -> list[Cause]:
    """Return the causes of losses on a machine; the first that fits a row counts.

    Results outside the repository have those of the machine whose name their folder has.
    """
    file = folder / REMARKS
    if not file.exists():
        file = BENCHMARKS / "results" / folder.name / REMARKS
    if not file.exists():
        return []
    return [Cause(**entry) for entry in tomllib.loads(file.read_text())["cause"]]


def by_cause(records: list[Record], known: list[Cause]) -> list[tuple[Cause | None, list[Record]]]:
    """Return the rows that peers win, by cause; those without one last, with None."""

    def fits(record: Record, cause: Cause) -> bool:
        return any(fnmatch(record["name"], pattern) for pattern in cause.rows)

    groups: dict[int, list[Record]] = {}
    for record in filter(lost, records):
        fitting = (k for k, cause in enumerate(known) if fits(record, cause))
        groups.setdefault(next(fitting, len(known)), []).append(record)
    return [((*known, None)[k], groups[k]) for k in sorted(groups)]


def unexplained(records: list[Record], known: list[Cause]) -> list[str]:
    return [r["name"] for cause, mine in by_cause(records, known) if cause is None for r in mine]


def losses(records: list[Record], known: list[Cause]) -> Iterator[str]:
    """Yield what peers win, a paragraph per cause."""
    found = by_cause(records, known)
    n_lost = sum(len(mine) for _, mine in found)
    yield "## Where a peer is faster\n"
    yield wrapped(
        f"Of {len(records)} rows, a peer is faster, or takes less memory, in {n_lost}: the "
        f"quartiles do not overlap, and the medians differ by more than {TIE:.0%}. The range is "
        f"the time of the fastest peer divided by that of {OURS}.\n"
    )
    for cause, mine in found:
        title, text = (UNEXPLAINED, "") if cause is None else (cause.title, cause.text)
        ratios = [ratio(record, lost(record)[0]) or 0.0 for record in mine]
        low, high = (f"{end(ratios):.2f} x" for end in (min, max))
        span = low if low == high else f"{low} to {high}"
        peers = ", ".join(dict.fromkeys(which for record in mine for which in lost(record)))
        text = f"{text.strip()} " if text else ""
        yield wrapped(f"- **{title}**: {span}. {text}Rows ({peers}): {together(mine)}.", "  ")
    yield ""


def together(records: list[Record]) -> str:
    """Return the titles of rows; those that differ only in their ends are joined."""
    groups: dict[str, list[str]] = {}
    for record in records:
        mark = ": " if ": " in record["title"] else ", "
        first, _, last = record["title"].rpartition(mark)
        groups.setdefault(first + mark if first else "", []).append(last)
    return "; ".join(first + " and ".join(lasts) for first, lasts in groups.items())


def wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, LINE, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) + "\n" * text.endswith("\n")


def answer(records: list[Record]) -> Iterator[str]:
    """Yield the table of a question: our times, and the ratios of the others."""
    others = dict.fromkeys(w for r in records for w in r["contenders"] if w != OURS)
    names = [which for which in others if not which.startswith("a plain ")]
    yield f"| | {OURS} | {' | '.join(names)} |"
    yield "| --- " * (len(names) + 2) + "|"
    for record in records:
        ours = shown(record, OURS) + lines_of(record, OURS)
        cells = [record["title"], ours, *(times(record, which) for which in names)]
        yield f"| {' | '.join(cells)} |"
    yield ""


def times(record: Record, which: str) -> str:
    """Return the ratio of a contender, or its figure where ours is zero."""
    if which not in record["contenders"]:
        return ""
    found = ratio(record, which)
    if found is None:
        return shown(record, which)
    text = f"{found:.2g} x" if found < 10 else f"{found:,.0f} x"
    text = f"**{text}**" if which in lost(record) else text
    return text + lines_of(record, which)


def lines_of(record: Record, which: str) -> str:
    lines = record["contenders"][which].get("lines")
    return f", {lines} lines" if lines else ""


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


def stamp(records: list[Record]) -> Iterator[str]:
    """Yield where, when, and at which commit all records were measured."""
    yield "\n".join(f"- {line}" for line in headings(records[0]["run"])) + "\n"


def growth(records: list[Record], pictures: dict[str, str]) -> Iterator[str]:
    for family, title, text in GROWTH:
        if family in pictures and any(record["family"] == family for record in records):
            yield f"## {title}\n\n{wrapped(text)}\n\n![{title}]({pictures[family]})\n"


def page(
    folder: Path, records: list[Record], known: list[Cause], pictures: dict[str, str]
) -> Iterator[str]:
    """Yield the page that users read."""
    yield "# Benchmarks\n"
    yield from stamp(records)
    yield f"{INTRODUCTION.strip()}\n\n![At a glance]({pictures['overview']})\n"
    for question in QUESTIONS:
        if mine := chosen(records, question.rows):
            yield f"## {question.title}\n\n{wrapped(question.text)}\n"
            yield from answer(mine)
    yield from growth(records, pictures)
    yield from losses(records, known)
    yield HOW.format(folder=folder).strip()
    yield "\n```{toctree}\n:hidden:\n\ntables\n16-cores\n```"


def tables(
    folder: Path, records: list[Record], known: list[Cause], pictures: dict[str, str], title: str
) -> Iterator[str]:
    """Yield the page of all rows, with the losses where they have no page of their own."""
    yield f"# {title}\n"
    yield from stamp(records)
    yield READING.format(folder=folder).lstrip()
    if pictures:
        yield from losses(records, known)
        yield from growth(records, pictures)
    for family, about in FAMILIES.items():
        mine = [record for record in records if record["family"] == family]
        if mine:
            yield f"## {about.title}\n\n{about.text}\n"
            yield from table(mine)


def chosen(records: list[Record], names: Iterable[str]) -> list[Record]:
    by_name = {record["name"]: record for record in records}
    return [by_name[name] for name in names if name in by_name]


def fill_readme(path: Path, records: list[Record]) -> None:
    """Write the table between the marks of README.md."""
    before, _, rest = path.read_text().partition(README_BEGINS)
    _, _, after = rest.partition(README_ENDS)
    if not after:
        sys.exit(f"{path} lacks the lines {README_BEGINS} and {README_ENDS}")
    names = (OURS, NUMPY, DASK, PRANGE)
    lines = [f"| | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
    for record in chosen(records, README):
        found = record["contenders"]
        cells = [
            shown(record, next(w for w in found if w.startswith(which)))
            if any(w.startswith(which) for w in found) else ""
            for which in names
        ]  # fmt: skip
        lines.append(f"| {README[record['name']]} | {' | '.join(cells)} |")
    table = "\n".join(lines).replace("|  |", "| |")
    path.write_text(f"{before}{README_BEGINS}\n{table}\n{README_ENDS}{after}")


def of_one_run(folder: Path) -> list[Record]:
    """Return the records of a folder; exit if they are not those of one run."""
    records = read(folder)
    if not records:
        sys.exit(f"{folder} holds no results")
    runs = sorted({r["run"]["started"]: r["run"] for r in records}.items())
    if len(runs) > 1:
        found = "; ".join(f"{start} at {run['versions'][OURS]}" for start, run in runs)
        sys.exit(f"{folder} holds results of {len(runs)} runs: {found}. A page shows one run")
    return records


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="results of one run on one machine")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="write what users read")
    parser.add_argument("--tables", type=Path, metavar="FILE.md", help="write all rows")
    parser.add_argument("--title", default="All benchmarks", help="the heading of all rows")
    parser.add_argument("--readme", type=Path, metavar="FILE.md", help="fill in its table")
    options = parser.parse_args(arguments)
    records, known = of_one_run(options.folder), causes(options.folder)
    from harness.pictures import draw

    if options.page:
        drawn = draw(records, options.page, "overview")
        write(options.page, page(options.folder, records, known, drawn))
    if options.tables:
        drawn = {} if options.page else draw(records, options.tables)
        write(options.tables, tables(options.folder, records, known, drawn, options.title))
    if options.readme:
        fill_readme(options.readme, records)
    silent = unexplained(records, known)
    if silent and not records[0]["run"]["small"]:
        sys.exit(f"lost rows: {options.folder / REMARKS} gives no cause for: {', '.join(silent)}")


def write(path: Path, lines: Iterator[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
