"""Run one scenario in this interpreter, and report what is observed from inside."""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import re
import sys
import time
import warnings
from pathlib import Path

from leftovers import left_since, look
from scenario import BACKENDS, NOT_POSSIBLE, SCENARIOS, NotPossibleError, Scenario, Stage
from sharedmem import MapReduce, WorkerException

GRACE_SECONDS = 2.0


def main() -> None:
    """Run the scenario that the arguments name for each number of workers, until it fails."""
    module, name, backend, workers, seed, repeats, report = sys.argv[1:]
    importlib.import_module(module)
    scenario = SCENARIOS[name]
    for n_workers in map(int, workers.split(",")):
        if scenario.exits is not None:
            keep_limit(scenario)
            scenario.function(Stage(backend, n_workers, seed))
            return
        outcome = run_rounds(scenario, backend, n_workers, seed, int(repeats))
        with Path(report).open("a") as file:
            print(json.dumps([n_workers, *outcome]), file=file)
    faulthandler.cancel_dump_traceback_later()


def keep_limit(scenario: Scenario) -> None:
    """Print a traceback and exit after the time limit, unless this is called again before."""
    faulthandler.dump_traceback_later(scenario.limit, exit=True)


def run_rounds(
    scenario: Scenario, backend: str, n_workers: int, seed: str, repeats: int
) -> tuple[str, str, float]:
    """Run one case; return how the last round ended, the faults, and the seconds per round."""
    keep_limit(scenario)
    _work_again(MapReduce(BACKENDS[backend], np=n_workers))  # does what only the first call does
    began = time.perf_counter()
    for k in range(repeats):
        keep_limit(scenario)
        ending, faults = perform(scenario, Stage(backend, n_workers, f"{seed}.{k}"))
        if faults:
            faults.insert(0, f"in round {k}:")
            break
    return ending, " ".join(faults), (time.perf_counter() - began) / (k + 1)


def perform(scenario: Scenario, stage: Stage) -> tuple[str, list[str]]:
    """Run one round; return how the call ended, and all deviations from what is expected."""
    before = look()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Strikers are forked beside threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        ending, faults = _let_strike(scenario, stage)
    categories = [warning.category for warning in caught]
    if categories != ([] if scenario.warns is None else [scenario.warns]):
        faults.append(f"warned of {[str(warning.message) for warning in caught]}")
    try:
        _work_again(stage.pool)
        _work_again(MapReduce(stage.backend, np=stage.n_workers))
    except Exception as error:
        faults.append(f"afterwards the pool raises {error!r}")
    deadline = time.monotonic() + GRACE_SECONDS
    while left := left_since(before):
        if time.monotonic() > deadline:
            faults.append(f"left behind {left}")
            faulthandler.dump_traceback()
            break
        gc.collect()
        time.sleep(0.005)
    return ending, faults


def _let_strike(scenario: Scenario, stage: Stage) -> tuple[str, list[str]]:
    try:
        scenario.function(stage)
    except NotPossibleError as error:
        return f"{NOT_POSSIBLE}: {error}", []
    except BaseException as error:
        return f"{type(error).__name__}: {error}", _mismatches(scenario, error)
    if scenario.raises is not None and not scenario.at_random:
        return "returned", [f"returned, without {scenario.raises.__name__}"]
    return "returned", []


def _mismatches(scenario: Scenario, error: BaseException) -> list[str]:
    """Return the differences of an exception from the expected one, in words."""
    faults = []
    if type(error) is not scenario.raises:
        faults.append(f"raised {error!r}")
    if scenario.reason and type(getattr(error, "reason", None)) is not scenario.reason:
        faults.append(f"the reason is {getattr(error, 'reason', None)!r}")
    if not re.search(scenario.text, str(error)):
        faults.append(f"the text is {str(error)!r}")
    if not re.search(scenario.notes, "\n".join(getattr(error, "__notes__", ()))):
        faults.append(f"the notes are {getattr(error, '__notes__', ())}")
    if isinstance(error, WorkerException) and len(str(error)) > 50_000:
        faults.append(f"the text has {len(str(error))} characters")
    return faults


def _work_again(pool: MapReduce) -> None:
    n_tasks = 2 * pool.np + 1
    results = pool.map(lambda i: -i, range(n_tasks))
    assert results == [-i for i in range(n_tasks)], results


if __name__ == "__main__":
    main()
