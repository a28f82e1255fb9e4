"""Run scenarios and print their outcomes; see `make faults` and `make soak`."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from interpreters import (
    N_INTERPRETERS,
    Outcome,
    new_seed,
    run,
    shared_memory_kib,
    start_load,
)
from scenario import SCENARIOS, Case, Scenario

# The kernel keeps some memory, and other programs run meanwhile.
SLACK_KIB = 32 << 10
WIDTH = 60


def main() -> int:
    """Print a table; return 1 if any case failed."""
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    parser.add_argument(
        "patterns", nargs="*", default=[""], help="of names of scenarios; default: all"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, help="rounds of scenarios that strike at random"
    )
    parser.add_argument(
        "--soak", action="store_true", help="only scenarios that strike at random or take long"
    )
    parser.add_argument(
        "--load", type=float, metavar="SECONDS", help="keep other pools under load meanwhile"
    )
    parser.add_argument("--seed", default=new_seed(), help="seed of random delays")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    runs = [
        (scenario.name, backend, workers, f"{options.seed}.{part}", rounds)
        for scenario in SCENARIOS.values()
        if any(re.search(pattern, scenario.name) for pattern in options.patterns)
        if (scenario.at_random or scenario.is_long if options.soak else not scenario.is_long)
        for backend, workers in scenario.runs()
        for part, rounds in enumerate(_parts(scenario, options.repeat))
    ]
    print(f"seed {options.seed}\n\n| scenario | backend | workers | outcome | seconds |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    began, before = time.monotonic(), shared_memory_kib()
    failures = []
    load = start_load(options.load, options.seed) if options.load else None
    with ThreadPoolExecutor(N_INTERPRETERS) as executor:
        for (_, _, _, seed, rounds), outcomes in zip(
            runs, executor.map(lambda arguments: run(*arguments), runs), strict=True
        ):
            for case, outcome in outcomes.items():
                print(_row(case, rounds, outcome), flush=True)
                if outcome.faults:
                    failures.append(f"{case}, seed {seed}: {outcome.faults}")
    if load is not None:
        print(f"\n{load.communicate()[0]}")
        if load.returncode:
            failures.append("the pools under load failed")
    grown = shared_memory_kib() - before
    if grown > SLACK_KIB:
        failures.append(f"shared memory has grown by {grown} KiB")
    n_rounds = sum(rounds * len(workers) for _, _, workers, _, rounds in runs)
    print(f"\n{n_rounds} rounds in {time.monotonic() - began:.0f} s, {len(failures)} went wrong")
    print(*failures, sep="\n\n")
    return 1 if failures else 0


def _parts(scenario: Scenario, rounds: int) -> list[int]:
    """Split the rounds among interpreters."""
    if not scenario.at_random:
        return [1]
    largest = 10 if scenario.exits is None else 1
    return [min(largest, rounds - start) for start in range(0, rounds, largest)]


def _row(case: Case, rounds: int, outcome: Outcome) -> str:
    ending = outcome.ending.split("\n")[0].replace("|", "/")
    ending = ending if len(ending) <= WIDTH else f"{ending[: WIDTH - 3]}..."
    verdict = "WRONG: " if outcome.faults else ""
    times = f" ({rounds} x)" if rounds > 1 else ""
    return (
        f"| {case.name}{times} | {case.backend} | {case.n_workers} | {verdict}{ending} "
        f"| {outcome.seconds:.2f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
