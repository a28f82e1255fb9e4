"""Run pools under load for minutes, and check that no resource use grows; see `make soak`."""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from operations import FAILURES, Program
from sharedmem import ProcessBackend, ThreadBackend

SAMPLE_SECONDS = 5.0
# Share of the samples that are discarded: at first, modules are imported and memory is mapped.
WARM_UP_SHARE = 0.2
# Growth that is no leak: the allocator maps a little more memory.
SLACK = {"memory": 24 << 20, "descriptors": 0, "mappings": 40, "threads": 0, "children": 0}


class Sample(NamedTuple):
    """Resources of the process between two programs.

    Attributes
    ----------
    memory, descriptors, mappings, threads, children : int
        Resident bytes, and counts.
    """

    memory: int
    descriptors: int
    mappings: int
    threads: int
    children: int


def take_sample() -> Sample:
    """Return the resources of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks = list(Path("/proc/self/task").iterdir())
    return Sample(
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(os.listdir("/proc/self/fd")),
        Path("/proc/self/maps").read_text().count("\n"),
        len(tasks),
        sum(len((task / "children").read_text().split()) for task in tasks),
    )


def random_steps(program: Program, chance: random.Random) -> Iterator[Callable[[], object]]:
    """Yield random steps of a program, infinitely many."""
    which = chance.randrange
    failures = list(FAILURES.values()) if program.has_processes else [FAILURES["raises"]]
    steps: list[Callable[[], object]] = [
        lambda: program.map(which(300), chance.choice([None, 1, 7]), which(100)),
        lambda: program.map(which(10), None, chance.choice([40_000, 1 << 20, 8 << 20])),
        lambda: program.reduce(1 + which(40)),
        lambda: program.fail(1 + which(40), which(40), *chance.choice(failures)),
        lambda: program.fail_in_imap(1 + which(40), which(50)),
        lambda: program.stop(1 + which(40), which(40)),
        program.run_late,
        lambda: program.nest(1 + which(5)),
        lambda: program.begin_imap(in_order=chance.random() < 0.5),
        lambda: program.take(which(10), which(300)),
        lambda: program.drop(which(10)),
        lambda: program.allocate(chance.choice([0, 1, 1000, 300_000]), in_worker=which(2) == 0),
        lambda: program.change(which(10), by_kernel=which(2) == 0),
        lambda: program.fail_in_kernel(which(10)),
        lambda: program.free(which(10)),
        lambda: program.call(which(10), dies=which(3) == 0),
        lambda: program.wait(which(10)),
        lambda: program.cancel(which(10)),
        program.check,
    ]
    while True:
        yield chance.choice(steps)


def run(seconds: float, seed: str) -> tuple[int, list[Sample]]:
    """Run programs of 50 steps each; return the number of steps, and samples of resources."""
    chance = random.Random(seed)
    began = next_sample = time.monotonic()
    n_steps, samples = 0, []
    while time.monotonic() < began + seconds:
        program = Program(chance.choice([ProcessBackend, ThreadBackend]), chance.choice([1, 2, 5]))
        for _, step in zip(range(50), random_steps(program, chance), strict=False):
            step()
            n_steps += 1
        program.end()
        del program, step
        if time.monotonic() > next_sample:
            time.sleep(0.2)  # Threads finish their tasks after a time limit.
            samples.append(take_sample())
            next_sample = time.monotonic() + SAMPLE_SECONDS
    return n_steps, samples


def grown(samples: list[Sample]) -> list[str]:
    """Return the resources that have grown since the warm-up, in words."""
    warm = samples[int(WARM_UP_SHARE * len(samples)) :]
    half = len(warm) // 2
    found = []
    for name, slack in SLACK.items():
        before, after = (
            max(getattr(sample, name) for sample in part) for part in (warm[:half], warm[half:])
        )
        if after > before + slack:
            found.append(f"{name} have grown from {before} to {after}")
    return found


def main() -> int:
    """Run for some time; return 1 if any resource has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    n_steps, samples = run(options.seconds, options.seed)
    first, last = samples[int(WARM_UP_SHARE * len(samples))], samples[-1]
    print(
        f"{n_steps} steps in {options.seconds:.0f} s, seed {options.seed}; {len(samples)} samples"
    )
    for name in SLACK:
        values = [getattr(sample, name) for sample in samples]
        print(
            f"{name}: {getattr(first, name)} after the warm-up, {getattr(last, name)} at the "
            f"end, at most {max(values)}"
        )
    found = grown(samples)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
