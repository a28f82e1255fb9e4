"""The scripts in benchmarks/ run, at small sizes; what they measure is not looked at."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import report
import run as benchmarks_run
from harness import families, questions, records
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
cold_start/import sections/ordered-2 sections/critical
pool/start-shared pool/tasks-2 pool/blas inputs persistent/maps persistent/submit
results/results-shared results/imap-first
growth/tasks-100 growth/sum-65536 scaling/exp-2 published/numexpr-vml-0 published/dask-mean
programs/word_count programs/monte_carlo foundation/copy-1MiB foundation/sum large/full
reductions/sum-1MiB axes/sum-columns elementwise/exp* elementwise/add-f4 scans/cumsum-1MiB
orders/sort-1MiB orders/search-8MiB random_fill/normal selection/take groups/mean-1000
one_pass/zarr-memory files/sum files/zarr cluster/tasks-100
share/csr-again share/small-empty
"""


def test_contenders_run_and_agree():
    lines = python("-m", "harness.smoke", *SMOKE.split())
    assert {line.partition("/")[0] for line in lines} == {*families.FAMILIES}


def test_rows_are_timed_and_reported(old_python, tmp_path):
    results, page = tmp_path / "results", tmp_path / "docs" / "page.md"
    options = ["--small", "--rounds", 2, "--old-python", old_python, "--results", results]
    python("run.py", *options, "--only", "foundation/copy-1MiB", "growth/sum-65536")
    python("run.py", *options, "--only", "elementwise/add-f4", "growth/sum-65536", "--resume")
    found = {record["name"]: record for record in records.read(results)}
    assert [*found] == ["foundation/copy-1MiB", "elementwise/add-f4", "growth/sum-65536"]
    copied = found["foundation/copy-1MiB"]
    assert {"sharedmem", "NumPy", "sharedmem 0.3.8", "a plain copy"} == {*copied["contenders"]}
    assert copied["share_of_limit"] > 0
    ours = copied["contenders"]["sharedmem"]
    assert len(ours["samples"]) == 2
    assert ours["q1"] <= ours["median"] <= ours["q3"]
    assert ours["peak_memory"] >= 0
    python("report.py", results, "--page", page, "--tables", page.with_name("tables.md"))
    assert "| a + 1, 5e6 float32 | " in page.read_text()
    assert "| copy, 1 MiB | " in page.with_name("tables.md").read_text()
    pictures = {*(page.parent / "pictures").glob("*.png")}
    assert {path.stem for path in pictures} == {"page-overview", "page-growth"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def contender(median):
    keys = ("median", "q1", "q3", "page_faults", "peak_memory")
    return {**dict.fromkeys(keys, median), "samples": [median]}


def a_run(**changed):
    machine = {"processor": "P", "cores": 2, "workers": 2, "memory": 1, "kernel": "6"}
    run = {"machine": machine, "versions": {"sharedmem": "1.0 (c0ffee)"}, "rounds": 1}
    run |= {"started": "2030-01-01T00:00:00", "quick": False, "small": False}
    return run | changed


def a_row(name, run, **medians):
    contenders = {which: contender(median) for which, median in medians.items()}
    family, _, title = name.partition("/")
    row = {"name": name, "family": family, "title": title, "size": 1, "unit": "seconds"}
    return row | {"target": "", "contenders": contenders, "share_of_limit": None, "run": run}


CAUSE = """
[[cause]]
title = "Nothing to do"
text = "There is nothing to do."
rows = ["orders/empty-*"]
"""


@pytest.fixture
def pages_of(tmp_path, monkeypatch):
    """Write pages without their pictures."""
    pictures = dict.fromkeys(["overview", "growth", "scaling"], "picture.png")
    monkeypatch.setattr("harness.pictures.draw", lambda *_: pictures)
    return functools.partial(write_pages, tmp_path)


def write_pages(folder, *rows):
    """Write both pages of rows, and return what was said as well."""
    for row in rows:
        records.write(folder, row)
    (folder / "remarks.toml").write_text(CAUSE)
    page, tables = folder / "page.md", folder / "tables.md"
    said = ""
    try:
        report.main([str(folder), "--page", str(page), "--tables", str(tables)])
    except SystemExit as error:
        said = str(error)
    return said, *(" ".join(path.read_text().split()) for path in (page, tables) if path.exists())


def test_losses_are_listed_by_cause(pages_of):
    run = a_run()
    said, page, tables = pages_of(
        a_row("orders/empty-a", run, sharedmem=2.0, NumPy=1.0, Dask=3.0),
        a_row("orders/empty-b", run, sharedmem=4.0, NumPy=3.0, Dask=1.0),
        a_row("orders/won", run, sharedmem=2.0, NumPy=3.0),
    )
    assert not said
    losses = "- **Nothing to do**: 0.25 x to 0.50 x. There is nothing to do. Rows (NumPy, Dask): "
    assert losses + "empty-a and empty-b." in page
    assert "1 s (**0.50 x**)" in tables
    assert "3 s (1.50 x)" in tables


def test_a_lost_row_without_a_cause_is_listed_and_fails(pages_of):
    said, page, _ = pages_of(a_row("orders/unheard-of", a_run(), sharedmem=2.0, NumPy=1.0))
    assert "orders/unheard-of" in said
    assert "- **Not yet explained**: 0.50 x. Rows (NumPy): unheard-of." in page


def test_a_row_that_is_won_needs_no_cause(pages_of):
    medians = {"sharedmem": 1.0, "NumPy": 2.0, "a plain read": 0.5, "reference": 0.5}
    said, page, tables = pages_of(a_row("orders/unheard-of", a_run(), **medians))
    assert not said
    assert "unheard-of" not in page
    assert "**0.50" not in tables


def test_a_page_is_of_one_run(pages_of):
    said, *pages = pages_of(
        a_row("orders/a", a_run(), sharedmem=1.0, NumPy=2.0),
        a_row("scans/a", a_run(started="2030-01-02T00:00:00"), sharedmem=1.0, NumPy=2.0),
    )
    assert "holds results of 2 runs" in said
    assert not pages


def test_the_page_of_a_run_is_stamped_once(pages_of):
    _, page, tables = pages_of(a_row("orders/sort-128MiB", a_run(), sharedmem=1.0, NumPy=2.0))
    assert page.count("c0ffee") == tables.count("c0ffee") == 1
    assert "| sort-128MiB | 1 s | 2 x |" in page


OTHERS = {
    "versions": {"sharedmem": "1.0 (decaf)"},
    "rounds": 2,
    "machine": a_run()["machine"] | {"kernel": "7"},
}


@pytest.mark.parametrize("key", OTHERS)
def test_another_run_does_not_add_to_results(tmp_path, capsys, key):
    records.write(tmp_path, a_row("orders/a", a_run(), sharedmem=1.0))
    other = a_run(started="2030-01-02T00:00:00") | {key: OTHERS[key]}
    with pytest.raises(SystemExit):
        benchmarks_run.earlier_run(other, tmp_path, afresh=False)
    assert "pass --afresh" in capsys.readouterr().err
    assert len(records.read(tmp_path)) == 1
    assert benchmarks_run.earlier_run(other, tmp_path, afresh=True) == other
    assert not records.read(tmp_path)


def test_a_run_goes_on_at_the_same_commit(tmp_path):
    records.write(tmp_path, a_row("orders/a", a_run(), sharedmem=1.0))
    again = a_run(started="2030-01-02T00:00:00")
    assert benchmarks_run.earlier_run(again, tmp_path, afresh=False) == a_run()


def test_results_of_another_machine_are_kept(tmp_path, capsys):
    records.write(tmp_path, a_row("orders/a", a_run(), sharedmem=1.0))
    other = a_run(machine=a_run()["machine"] | {"processor": "Q"})
    with pytest.raises(SystemExit):
        benchmarks_run.earlier_run(other, tmp_path, afresh=True)
    assert "name another folder" in capsys.readouterr().err
    assert len(records.read(tmp_path)) == 1


def test_the_page_shows_rows_that_exist():
    assert len(questions.shown()) == len({*questions.shown()}) <= questions.MOST_ROWS
    assert {*questions.shown(), *questions.README} <= {*families.selected(["*"])}
    assert {family for family, *_ in questions.GROWTH} <= {*families.FAMILIES}


def test_rows_that_run_by_hand_are_run_if_they_are_named():
    assert "large/file" in families.selected(["large"])
    assert "large/file" not in families.selected(["*"])


def test_decisions_name_sections_of_the_tables():
    titles = {about.title for about in families.FAMILIES.values()}
    quoted = re.compile(r'[Ss]ections? ("[^.]*") of\s+the \[benchmark tables\]')
    found = [
        " ".join(name.split())
        for path in (ROOT / "docs/decisions").glob("*.md")
        for names in quoted.findall(path.read_text())
        for name in re.findall('"([^"]*)"', names)
    ]
    assert found
    assert {*found} <= titles


def test_causes_are_of_rows_that_exist():
    folders = [*(ROOT / "benchmarks/results").iterdir()]
    assert folders
    for folder in folders:
        for pattern in [pattern for cause in report.causes(folder) for pattern in cause.rows]:
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
    assert "median-8MiB" in suite.params[0]
    suite.setup("topk-1MiB")
    suite.time_row("topk-1MiB")
