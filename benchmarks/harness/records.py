"""Read and write measured rows: a JSON file per family, in a folder per machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.families import FAMILIES
from harness.timing import in_bytes

# A row's name, title, and figures; `run` says where, when, and with which versions.
Record = dict[str, Any]


def read(folder: Path) -> list[Record]:
    """Return the records of all families."""
    return [record for family in FAMILIES for record in _read(folder / f"{family}.json")]


def write(folder: Path, record: Record) -> None:
    """Write a record to the file of its family; it replaces an earlier record of the same row."""
    path = folder / f"{record['family']}.json"
    records = {earlier["name"]: earlier for earlier in _read(path)} | {record["name"]: record}
    runs = {r["run"]["started"]: r["run"] for r in records.values()}
    rows = [{**r, "run": r["run"]["started"]} for r in records.values()]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"runs": {_lines([*runs.values()])}, "rows": {_lines(rows)}}}\n')


def headings(run: Record) -> Iterator[str]:
    """Yield where, with which versions, and how a run was measured."""
    machine, versions = run["machine"], run["versions"]
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['workers']} workers, "
        f"{in_bytes(machine['memory'])}, Linux {machine['kernel']}."
    )
    yield ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    kind = "; small sizes" * run["small"] + "; a quick run, which is rough" * run["quick"]
    yield f"Medians of {run['rounds']} interleaved rounds, {run['started'][:10]}{kind}."


def _read(path: Path) -> list[Record]:
    if not path.exists():
        return []
    stored = json.loads(path.read_text())
    runs = {run["started"]: run for run in stored["runs"]}
    return [{**row, "run": runs[row["run"]]} for row in stored["rows"]]


def _lines(items: Sequence[Record]) -> str:
    """Format one item per line, so that a diff shows which rows have changed."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"
