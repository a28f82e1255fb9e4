"""The program of a contender's process: FAMILY CONTENDER; commands come on standard input."""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from typing import Any

import numpy as np

from harness.families import rows
from harness.timing import Call, Measured


def end(result: Any, at: int) -> float:
    """Return the first or the last number of a result, to compare contenders by."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return end(result[at], at)
    return float(np.ravel(result)[at])


def ends(result: Any) -> list[float]:
    """Return the first and last number, rounded to 14 digits; nothing if there is no result."""
    return [] if result is None else [float(f"{end(result, at):.14g}") for at in (0, -1)]


def page_faults() -> int:
    """Return the page faults of this process and of its children that have ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_minflt + u.ru_majflt for u in map(resource.getrusage, who))


def run(call: Call, *, warms_up: bool) -> None:
    """Make a call, and print what it measured."""
    gc.collect()  # before the warm-up: it visits all objects, which cools the caches
    if warms_up:
        call()
    n_faults, start = page_faults(), time.perf_counter()
    result = call()
    value, n_faults = time.perf_counter() - start, page_faults() - n_faults
    if isinstance(result, Measured):
        value, result = result
    print(json.dumps((value, n_faults, ends(result))), flush=True)


def main(family: str, which: str) -> None:
    call: Any = None
    warms_up = False
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "run":
            run(call, warms_up=warms_up)
            continue
        call = None
        if what == "set_up":
            row = rows(family)[arguments[0]]
            call, warms_up = row.contenders[which](arguments[1]), row.warms_up
        gc.collect()
        print("ready", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
