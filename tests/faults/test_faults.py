"""Run each scenario in its own interpreter: it ends as expected, and leaves nothing behind."""

from __future__ import annotations

import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from interpreters import N_INTERPRETERS, ROOT, new_seed, run
from scenario import NOT_POSSIBLE, SCENARIOS, Case


def some(workers, which):
    """Return two, if it is among numbers of workers, and one of the others."""
    others = [n for n in workers if n != 2]
    return {*others[which % max(1, len(others)) :][:1], *{2}.intersection(workers)}


# Per interpreter: the scenario, the backend, and the numbers of workers. `make faults` runs all.
RUNS = [
    (name, backend, [n for n in workers if n in some(scenario.workers, which)])
    for which, (name, scenario) in enumerate(SCENARIOS.items())
    if not scenario.is_long
    for backend, workers in scenario.runs()
]
CASES = [
    # Other versions of Python run them with two workers only.
    pytest.param(case, id=str(case), marks=[pytest.mark.slow] * (case.n_workers != 2))
    for name, backend, workers in RUNS
    for case in (Case(name, backend, n_workers) for n_workers in workers)
]


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Do nothing: `interpreters` checks this, and other interpreters already run meanwhile."""


@pytest.fixture(scope="module")
def outcomes(request):
    seed = new_seed()
    wanted = defaultdict(list)
    for item in request.session.items:
        if item.module is request.module and "case" in item.fixturenames:
            case = item.callspec.params["case"]
            wanted[case.name, case.backend].append(case.n_workers)
    executor = ThreadPoolExecutor(N_INTERPRETERS)
    futures = {}
    for name, backend, workers in RUNS:
        chosen = [n for n in workers if n in wanted[name, backend]]
        if chosen:
            future = executor.submit(run, name, backend, chosen, seed)
            futures |= {Case(name, backend, n): future for n in chosen}
    yield seed, futures
    executor.shutdown(cancel_futures=True)


@pytest.mark.timeout(300)  # Scenarios have their own limits, and may wait for others.
@pytest.mark.parametrize("case", CASES)
def test_fault(case, outcomes):
    seed, futures = outcomes
    outcome = futures[case].result()[case]
    if outcome.ending.startswith(NOT_POSSIBLE):
        pytest.skip(outcome.ending)
    assert not outcome.faults, f"seed {seed}: {outcome.faults}"


def test_each_group_of_faults_is_tested():
    """Scenarios name their groups, and the page names the folders of other tests."""
    page = (ROOT / "docs/faults.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .+ \| (.*)\|$", page, re.MULTILINE)
    named = {int(group): re.findall(r"`(\S+)`", folders) for group, folders in rows}
    assert list(named) == list(range(1, 40))
    have_scenarios = {group for scenario in SCENARIOS.values() for group in scenario.groups}
    assert have_scenarios <= set(named)
    for group, folders in named.items():
        assert group in have_scenarios or folders, f"nothing tests group {group}"
        assert all((ROOT / folder).is_dir() for folder in folders), folders
