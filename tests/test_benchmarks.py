import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ["--quick", "--rounds", "1"]


@pytest.fixture
def bench(tmp_path):
    """Run a script, with this package in the place of 0.3.8, whose programs it runs."""
    old_python = tmp_path / "python"
    old_python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    old_python.chmod(0o755)

    def run(script, *options):
        done = subprocess.run(
            [sys.executable, ROOT / "benchmarks" / script, "--old-python", old_python, *options],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]

    return run


@pytest.mark.slow
def test_contenders_agree_and_make_a_table(bench):
    rows = bench("foundation.py", *SMALL)
    assert len(rows) == 6
    assert {len(row) for row in rows} == {5}


@pytest.mark.slow
def test_reductions_are_compared(bench):
    rows = bench("reductions.py", *SMALL, "--only", "sum-1MiB", "minmax-1MiB", "count_nonzero-1MiB")
    assert len(rows) == 5
    assert len({len(row) for row in rows}) == 1


# One of each kind of contender; all rows take longer than a test should.
POOL_ROWS = ["start-shared", "tasks-2", "equal-2", "results-mixed", "results-shared"]
POOL_ROWS += ["memory-shared", "imap-unordered", "imap-memory", "ordered-cpu", "critical", "blas"]


@pytest.mark.slow
def test_rows_of_the_pool_are_measured(bench, tmp_path):
    table = tmp_path / "table.md"
    rows = bench("pool.py", *SMALL, "--output", table, "--only", *POOL_ROWS)
    assert len(rows) == 2 + len(POOL_ROWS)
    assert len({len(row) for row in rows}) == 1
    assert rows[-1][0][2:] in table.read_text()


@pytest.mark.slow
def test_growth_is_drawn(bench, tmp_path):
    picture = tmp_path / "growth.png"
    rows = bench("growth.py", *SMALL, "--max-bytes", "2048", "--plot", picture)
    assert [row[0] for row in rows].count("| exponent of the last 3") == 3
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_expressions_are_timed(bench):
    rows = bench("elementwise.py", *SMALL, "--only", "compare", "add-f4")
    assert [row[0] for row in rows[2:]] == ["| a*b - 4.1*a > 2.5*b, 1 GiB", "| a + 1, 5e6 float32"]


@pytest.mark.slow
def test_random_numbers_are_timed(bench):
    rows = bench("random_fill.py", *SMALL, "--only", "normal", "integers", "permutation")
    assert len(rows) == 5


@pytest.mark.slow
def test_scans_are_compared(bench):
    assert len(bench("scans.py", *SMALL, "--only", "cumsum", "few")) == 4


@pytest.mark.slow
def test_faults_strike_the_peers(bench, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- benchmarks/faults.py writes from here -->\nold\n")
    rows = bench("faults.py", "--only", "kill", "ordered", "--output", page)
    ours = [row[1] for row in rows[2:]]
    assert ours[0].startswith("WorkerException names it")
    assert ours[1].startswith("returned")
    assert page.read_text().startswith("before\n")
    assert "old" not in page.read_text()
    assert rows[-1][0][2:] in page.read_text()


@pytest.mark.slow
def test_first_calls_are_timed(bench):
    assert len(bench("cold_start.py", *SMALL)) == 4
