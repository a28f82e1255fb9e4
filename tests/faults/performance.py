"""Run scenarios, each in a fork of this interpreter, and report what is observed from inside."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import importlib
import json
import os
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
    """Read requests; in a fork for each, which has called nothing yet, run what it asks for."""
    while request := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            folder, shm, *arguments = json.loads(request)
            settle(folder, shm)
            run_scenario(*arguments)
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def settle(folder: str, shm: str) -> None:
    """Begin a session in a folder, with an output and a /dev/shm of its own."""
    os.setsid()
    os.chdir(folder)
    for descriptor, (path, flags) in enumerate(
        [(os.devnull, os.O_RDONLY), *[("output", os.O_WRONLY | os.O_APPEND)] * 2]
    ):
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    if shm != "/dev/shm":
        libc = ctypes.CDLL(None)
        libc.unshare(_CLONE_NEWNS)
        libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        libc.mount(os.fsencode(shm), b"/dev/shm", None, _MS_BIND, None)


_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 1 << 12, 1 << 14, 1 << 18


def run_scenario(
    module: str, name: str, backend: str, workers: list[int], seed: str, repeats: int, report: str
) -> None:
    """Run a scenario for each number of workers, until it fails."""
    importlib.import_module(module)
    scenario = SCENARIOS[name]
    for n_workers in workers:
        if scenario.exits is not None:
            keep_limit(scenario)
            scenario.function(Stage(backend, n_workers, seed))
            return
        outcome = run_rounds(scenario, backend, n_workers, seed, repeats)
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
