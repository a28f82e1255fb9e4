"""Thousands of signals at random moments of array calls; see `make soak`.

Handlers of SIGINT and SIGALRM raise. After each signal, the exception must have been raised once,
all threads must be idle, the next call must return the right result, and nothing may be left.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import sharedmem
from leftovers import left_since, look
from sharedmem.machine import blas, helper_threads
from sharedmem.machine.tuning import tuning

N_WORKERS = 4
CALL_SECONDS = 30.0
GRACE_SECONDS = 1.0


class AlarmError(Exception):
    """Raised by the handler of SIGALRM."""


def ring(*_: object) -> None:
    raise AlarmError


# For each signal, the exception, and the handler of the timer, which sends the signal.
HANDLERS: dict[int, tuple[type[BaseException], Callable[..., None]]] = {
    signal.SIGINT: (KeyboardInterrupt, lambda *_: signal.raise_signal(signal.SIGINT)),
    signal.SIGALRM: (AlarmError, ring),
}


@numba.njit(nogil=True)
def increase(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = x[i] + 1


def make_calls(n: int) -> dict[str, Callable[[], Any]]:
    """Return calls that use threads, for arrays of `n` elements."""
    a = np.random.default_rng(0).permutation(n) / 7.0
    rows = a.reshape(-1, 256)
    out = sharedmem.empty_like(a)
    return {
        "sum": lambda: sharedmem.sum(a),
        "sum of columns": lambda: sharedmem.sum(rows, axis=0),
        "sum of rows": lambda: sharedmem.sum(rows, axis=1),
        "cumsum": lambda: sharedmem.cumsum(a),
        "histogram": lambda: sharedmem.histogram(a, bins=50)[0],
        "sort": lambda: sharedmem.sort(a),
        "median": lambda: sharedmem.median(a),
        "evaluate": lambda: sharedmem.evaluate("arctan2(a, a + 1) * 2", a=a),
        "evaluate out": lambda: sharedmem.evaluate("a * 2 + 1", a=a, out=out),
        "apply_ufunc": lambda: sharedmem.apply_ufunc(np.sqrt, a),
        "apply_ufunc by chunks": lambda: sharedmem.apply_ufunc(np.cbrt, a, out=out),
        "map_chunks": lambda: sharedmem.map_chunks(increase, a, out=out),
        "random": lambda: sharedmem.random.normal(size=n, seed=1),
        "copy": lambda: sharedmem.copy(a),
        "full": lambda: sharedmem.full(n, 1.5),
    }


def strike(call: Callable[[], Any], number: int, delay: float) -> bool:
    """Send a signal to this process during a call; return whether it raised exactly once."""
    expected, handler = HANDLERS[number]
    signal.signal(signal.SIGALRM, handler)
    raised: list[type[BaseException]] = []
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        call()
        time.sleep(GRACE_SECONDS)  # the signal may come after the call
    except (AlarmError, KeyboardInterrupt) as error:
        raised.append(type(error))
    return raised == [expected]


def strike_each(calls: dict[str, Callable[[], Any]], n_each: int, chance: random.Random) -> int:
    """Interrupt each call `n_each` times and print a line; return the number of failures."""
    dropped: list[Any] = []
    sys.unraisablehook = dropped.append
    n_wrong = 0
    for name, call in calls.items():
        expected = np.array(call())
        began = time.perf_counter()
        call()
        took = time.perf_counter() - began
        n_lost = n_false = 0
        for k in range(n_each):
            faulthandler.dump_traceback_later(CALL_SECONDS, exit=True)
            is_raised = strike(call, list(HANDLERS)[k % 2], chance.uniform(1e-6, took))
            n_lost += not is_raised or bool(dropped)
            dropped.clear()
            # A thread that still wrote for the ended call would show here.
            n_false += bool(blas._limits) or not np.array_equal(call(), expected)
        print(f"{name}: {n_each} strikes, {n_lost} lost, {n_false} wrong", flush=True)
        n_wrong += n_lost + n_false
    faulthandler.cancel_dump_traceback_later()
    return n_wrong


def main() -> int:
    """Interrupt all calls; return 1 if anything went wrong or is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strikes", type=int, default=10_000)
    parser.add_argument("--elements", type=int, default=1 << 19)
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    tuning.thread_bytes = 1 << 16
    with sharedmem.MapReduce(np=N_WORKERS):
        calls = make_calls(options.elements)
        for call in calls.values():
            call()
        gc.collect()
        before = look()
        n_each = -(-options.strikes // len(calls))
        n_wrong = strike_each(calls, n_each, random.Random(options.seed))
    gc.collect()
    left: Any = left_since(before)
    if helper_threads._helpers._n_threads >= N_WORKERS:
        left = f"{helper_threads._helpers._n_threads} threads"
    print(f"{n_each * len(calls)} strikes, {n_wrong} went wrong; left behind: {left or 'nothing'}")
    return 1 if n_wrong or left else 0


if __name__ == "__main__":
    sys.exit(main())
