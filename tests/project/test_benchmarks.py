"""The scripts in benchmarks/ run, at small sizes; what they measure is not looked at."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

import report
from harness import families, records
from regressions import rows as regressions
from rows import programs

ROOT = Path(__file__).parents[2]
# Where none is in the cache, many kernels are compiled.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def python(*arguments):
    """Run Python in the folder of the benchmarks."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT / "benchmarks",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def old_python(tmp_path):
    """This package in the place of 0.3.8, whose programs it runs."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


# The rows of each script, but where there are many of a kind, one of each.
SMOKE = """
cold_start/import sections/ordered-2 sections/critical sections/barrier
pool/start-shared pool/tasks-2 pool/equal-2 pool/blas inputs
results/results-mixed results/results-shared results/memory-shared results/imap*
growth scaling/*-2 published programs foundation large/full large/sum reductions/sum*
axes/sum-columns axes/sum-tall-short elementwise/exp* elementwise/sqrt* elementwise/add-f4
scans/cumsum* orders random_fill/normal random_fill/integers random_fill/permutation
selection/histogram-?MiB selection/bincount selection/nonzero selection/take
files/sum files/expression files/zarr*
cluster/tasks-100 cluster/histogram cluster/stencil
"""


def test_contenders_run_and_agree():
    lines = python("-m", "harness.smoke", *SMOKE.split())
    assert {line.partition("/")[0] for line in lines} == {*families.FAMILIES}


def test_rows_are_timed_and_reported(old_python, tmp_path):
    results, page = tmp_path / "results", tmp_path / "docs" / "page.md"
    options = ["--small", "--rounds", 2, "--old-python", old_python, "--results", results]
    python("run.py", *options, "--only", "foundation/copy-?MiB", "growth/sum-8192")
    found = {record["name"]: record for record in records.read(results)}
    assert [*found] == ["foundation/copy-1MiB", "foundation/copy-8MiB", "growth/sum-8192"]
    copied = found["foundation/copy-1MiB"]
    assert {"sharedmem", "NumPy", "sharedmem 0.3.8", "a plain copy"} == {*copied["contenders"]}
    assert copied["share_of_limit"] > 0
    ours = copied["contenders"]["sharedmem"]
    assert len(ours["samples"]) == 2
    assert ours["q1"] <= ours["median"] <= ours["q3"]
    assert ours["peak_memory"] >= 0
    python("report.py", results, "--output", page)
    assert "| copy, 1 MiB | " in page.read_text()
    pictures = {*(page.parent / "pictures").glob("*.png")}
    assert {path.stem for path in pictures} == {"page-foundation", "page-growth"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def contender(median):
    keys = ("median", "q1", "q3", "page_faults", "peak_memory")
    return {**dict.fromkeys(keys, median), "samples": [median]}


@pytest.fixture
def page_of(tmp_path, monkeypatch):
    """Make a page of one row, without its picture, and return what was said as well."""
    monkeypatch.setattr("harness.pictures.draw", lambda *_: {"orders": "picture.png"})
    return functools.partial(write_page, tmp_path)


def write_page(tmp_path, **medians):
    contenders = {which: contender(median) for which, median in medians.items()}
    row = {"name": "orders/unheard-of", "family": "orders", "title": "a row", "size": 1}
    row |= {"unit": "seconds", "target": "", "contenders": contenders, "share_of_limit": None}
    machine = {"processor": "P", "cores": 2, "workers": 2, "memory": 1, "kernel": "6"}
    run = {"machine": machine, "versions": {}, "rounds": 1, "started": "2030-01-01T00:00:00"}
    records.write(tmp_path, row | {"run": run | {"quick": False, "small": False}})
    said = ""
    try:
        report.main([str(tmp_path), "--output", str(tmp_path / "page.md")])
    except SystemExit as error:
        said = str(error)
    return said, (tmp_path / "page.md").read_text()


def test_a_lost_row_is_shown_and_needs_a_remark(page_of):
    said, page = page_of(sharedmem=2.0, NumPy=1.0, Dask=3.0)
    assert "orders/unheard-of" in said
    assert "| a row | NumPy | 1 s | 2 s |" in page
    assert "1 s (**0.50 x**)" in page
    assert "3 s (1.50 x)" in page


def test_a_row_that_is_won_needs_none(page_of):
    medians = {"sharedmem": 1.0, "NumPy": 2.0, "a plain read": 0.5, "reference": 0.5}
    said, page = page_of(**medians)
    assert not said
    assert "**0.50" not in page


def test_remarks_are_on_rows_that_exist():
    folders = [*(ROOT / "benchmarks/results").iterdir()]
    assert folders
    for folder in folders:
        for pattern in report.remarks(folder):
            assert families.selected([pattern]), pattern


def test_lines_of_programs_are_counted():
    lines = {name: list(row.lines.values()) for name, row in programs.ROWS.items()}
    assert lines["word_count"] == [7, 7, 8]
    ours, plain, peer = lines["kmeans"]
    assert ours > plain > peer


# No fault that lets a peer wait for ever: that takes its time.
def test_faults_strike_the_peers(old_python, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- benchmarks/tables/faults.py writes from here -->\nold line\n")
    options = ["--only", "result", "ordered", "--old-python", old_python, "--output", page]
    lines = python("-m", "tables.faults", *options)
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    assert " names it" in rows[2][1]
    assert rows[3][1].startswith("returned")
    assert page.read_text().startswith("before\n")
    assert "old line" not in page.read_text()
    assert rows[3][0][2:] in page.read_text()


def test_rows_run_under_asv():
    suite = regressions.orders()
    assert "median-1MiB" in suite.params[0]
    suite.setup("topk-1MiB")
    suite.time_row("topk-1MiB")
