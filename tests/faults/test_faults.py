"""Each fault ends as it should, in an interpreter of its own, and leaves nothing behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import N_INTERPRETERS, new_seed, run
from scenario import NOT_POSSIBLE, SCENARIOS

ROUNDS_AT_RANDOM = 3

CASES = [
    # The number of workers and the version of Python hardly ever matter both.
    pytest.param(case, id=str(case), marks=[pytest.mark.slow] * (case.n_workers != 2))
    for scenario in SCENARIOS.values()
    if not scenario.is_long
    for case in scenario.cases()
]


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Leave it to the harness: here the next interpreters run already."""


@pytest.fixture(scope="module")
def outcomes(request):
    seed = new_seed()
    executor = ThreadPoolExecutor(N_INTERPRETERS)
    futures = {}
    for item in request.session.items:
        if item.module is request.module and "case" in item.fixturenames:
            case = item.callspec.params["case"]
            rounds = ROUNDS_AT_RANDOM if SCENARIOS[case.name].at_random else 1
            futures[case] = executor.submit(run, case, seed, rounds)
    yield seed, futures
    executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", CASES)
def test_fault(case, outcomes):
    seed, futures = outcomes
    outcome = futures[case].result()
    if outcome.ending.startswith(NOT_POSSIBLE):
        pytest.skip(outcome.ending)
    assert not outcome.faults, f"seed {seed}: {outcome.faults}"
