"""Time contenders in interleaved rounds; print the rows, and keep all samples in JSON files."""

from __future__ import annotations

import argparse
import atexit
import datetime
import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import sharedmem
from harness.families import FAMILIES, selected
from harness.records import Record, headings, read, write
from harness.timing import (
    BENCHMARKS,
    MIB,
    OURS,
    FailedRowError,
    Figures,
    Processes,
    Row,
    in_bytes,
    in_seconds,
    is_reference,
    scratch,
)
from report import line

# A contender may hold this share of the free memory; the others need some too.
MEMORY_SHARE = 0.5
ROUNDS, QUICK_ROUNDS = 5, 3
# Seconds; a contender whose turn takes longer runs once, and a row stops after three rounds.
SLOW, QUICK_SLOW = 3.0, 1.0
PEERS = (
    "numpy numba numexpr Bottleneck blosc2 dask emcee flox joblib mpire pandas polars pyarrow "
    "pymp-pypi ray scikit-learn scipy"
)
# What a measured time depends on: the package, the rows, and how they are timed.
TIMED = (
    "../sharedmem", "../kernels", "rows", "programs",
    *(f"harness/{name}.py" for name in ("contenders", "limits", "serve", "timing")),
)  # fmt: skip
# In what runs are the same; one that was interrupted goes on at another time.
SAME = ("machine", "versions", "rounds", "quick", "small")
UNITS: dict[Any, str] = {in_seconds: "seconds", in_bytes: "bytes"}


def machine() -> Record:
    """Return the processor, cores, memory, and kernel of this machine."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "workers": sharedmem.cpu_count(),
        "memory": sharedmem.total_memory(),
        "kernel": platform.release(),
    }


def commit() -> str:
    """Return the last commit of the timed code, and a digest of what was changed since."""
    git = functools.partial(subprocess.run, cwd=BENCHMARKS, capture_output=True, text=True)
    name = git(["git", "log", "-1", "--format=%h", "--", *TIMED]).stdout.strip()
    changed = git(["git", "diff", "HEAD", "--", *TIMED]).stdout
    digest = f", changed: {hashlib.sha256(changed.encode()).hexdigest()[:7]}" if changed else ""
    return (name or "no repository") + digest


def versions(old_python: str | None) -> dict[str, str]:
    """Return the versions of Python, sharedmem with its commit, and all installed peers."""
    found = {"Python": platform.python_version(), OURS: f"{sharedmem.__version__} ({commit()})"}
    if old_python is not None:
        found["peer sharedmem"] = "0.3.8"
    for name in PEERS.split():
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def record(name: str, row: Row, size: int, found: dict[str, Figures], run: Record) -> Record:
    """Return the record of a measured row."""
    figures = {which: figure.as_json() for which, figure in found.items()}
    ours = figures[OURS]["median"]
    peers = {w: f["median"] for w, f in figures.items() if w != OURS and not is_reference(w)}
    best = min(peers, key=lambda which: peers[which], default=None)
    limits = [f["median"] for w, f in figures.items() if w.startswith("a plain ")]
    for which, n_lines in row.lines.items():
        if which in figures:
            figures[which]["lines"] = n_lines
    return {
        "name": name,
        "family": name.partition("/")[0],
        "title": row.title.format(size=in_bytes(size)),
        "size": size,
        "unit": UNITS.get(row.show, "seconds an item"),
        "target": row.target,
        "contenders": figures,
        "best_peer": best,
        "ratio_to_best_peer": ours / peers[best] if best and peers[best] else None,
        "share_of_limit": limits[0] / ours if limits and ours else None,
        "run": run,
    }


def refuse(reason: str) -> NoReturn:
    """Exit before anything was measured, with another status than after failed rows."""
    print(reason, file=sys.stderr)
    sys.exit(2)


def earlier_run(run: Record, folder: Path, *, afresh: bool) -> Record:
    """Return the run that the folder holds, or this one if it holds none.

    All results of a folder are those of one run: one commit, one machine. Exit if this run differs
    from the earlier one; with `afresh`, remove its results.
    """
    here = run["machine"]
    for earlier in [record["run"] for record in read(folder)]:
        there = earlier["machine"]
        if any(there[key] != here[key] for key in ("processor", "cores")):
            refuse(
                f"{folder} holds results of {there['processor']} with {there['cores']} cores; "
                f"this is {here['processor']} with {here['cores']}: name another folder"
            )
        differ = [key for key in SAME if earlier[key] != run[key]]
        if differ and not afresh:
            before, now = ({key: which[key] for key in differ} for which in (earlier, run))
            refuse(
                f"{folder} holds results of another run, {before}; this one is {now}: "
                "pass --afresh to remove them, or name another folder"
            )
        if not afresh:
            run = earlier
    if afresh:
        for family in FAMILIES:
            (folder / f"{family}.json").unlink(missing_ok=True)
    return run


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="ROW",
        help="patterns of families and rows, such as pool or reductions/sum*",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}, or {QUICK_ROUNDS} if quick")
    parser.add_argument("--quick", action="store_true", help="a few rows per family, few rounds")
    parser.add_argument(
        "--small", action="store_true", help="small sizes, to see that all rows run"
    )
    parser.add_argument(
        "--old-python", type=os.path.abspath,
        help="interpreter of an environment with sharedmem 0.3.8",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="keep all samples here")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="skip rows that the folder has")
    again.add_argument("--afresh", action="store_true", help="remove the results in the folder")
    options = parser.parse_args(arguments)
    if not selected(options.only, quick=options.quick):
        parser.error(f"no row matches {', '.join(options.only)}")
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


def main(arguments: list[str] | None = None) -> None:
    options = options_of(arguments)
    run: Record = {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(options.old_python),
        **{key: getattr(options, key) for key in ("rounds", "quick", "small")},
    }
    folder = options.results
    if folder is not None:
        run = earlier_run(run, folder, afresh=options.afresh)
    done = {r["name"] for r in read(folder)} if options.resume and folder is not None else set()
    failed: list[str] = []
    processes = Processes(options.rounds, options.old_python, QUICK_SLOW if options.quick else SLOW)
    atexit.register(processes.close)
    before = ""
    scratch()  # before the contenders start, so that all get the same folder
    print("\n".join(headings(run)))
    for name, (family, row) in selected(options.only, quick=options.quick).items():
        if name in done:
            continue
        if family != before or not FAMILIES[family].stays:
            processes.close()
        before = family
        size = row.quick_size if options.small else row.size
        free = sharedmem.available_memory()
        if row.needs > free and not options.small:
            need = f"needs {in_bytes(row.needs)}, and {in_bytes(free)} are free"
            print(f"{row.title} is skipped: it {need}")
            continue
        if "{size}" in row.title:
            size = min(size, int(MEMORY_SHARE * free) // MIB * MIB or size)
        try:
            found = processes.measure(family, name.partition("/")[2], row, size)
        except FailedRowError as error:  # keep the rows that were measured
            processes.close()
            failed.append(str(error))
            print(error, file=sys.stderr)
            continue
        measured = record(name, row, size, found, run)
        print(f"- {line(measured)}", flush=True)
        if folder is not None:  # now, so that nothing is lost if the run ends early
            write(folder, measured)
    if failed:
        sys.exit(f"{len(failed)} rows failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
