"""Inject the same faults into sharedmem and its peers, and write how each call ends."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import itertools
import json
import os
import pickle
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sharedmem
from harness.contenders import FORK, FUTURES, JOBLIB, MPIRE, is_there
from harness.timing import BENCHMARKS, OLD, OURS, POOL

PEERS = (OURS, POOL, FUTURES, JOBLIB, MPIRE, OLD)
LIMIT_SECONDS = 10.0
GRACE_SECONDS = 1.0
# The table of the page is between these lines.
BEGIN, END = "<!-- benchmarks/tables/faults.py writes from here -->\n", "<!-- to here -->\n"

Map = Callable[[Callable[[int], Any], Any], Any]
LOCK = FORK.Lock()


class Pool(NamedTuple):
    """A pool of one of the peers.

    Attributes
    ----------
    map : callable
        Its own way to call a function on items.
    critical : context manager
        A lock that its workers share.
    ordered : context manager or None
        A section that tasks enter in their order.
    """

    map: Map
    critical: Any = LOCK
    ordered: Any = None


@contextlib.contextmanager
def pool_of(peer: str) -> Iterator[Pool]:
    """Make a pool of two workers."""
    if peer in (OURS, OLD):
        with sharedmem.MapReduce(np=2) as pool:
            yield Pool(pool.map, pool.critical, pool.ordered)
    elif peer == POOL:
        with FORK.Pool(2) as pool:
            yield Pool(lambda func, items: pool.map(func, items, 1))
    elif peer == FUTURES:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(2, FORK) as pool:
            yield Pool(lambda func, items: list(pool.map(func, items)))
    elif peer == JOBLIB:
        import joblib

        with joblib.Parallel(2) as pool:
            yield Pool(lambda func, items: pool(joblib.delayed(func)(item) for item in items))
    else:
        from mpire.pool import WorkerPool

        with WorkerPool(2, start_method="fork") as pool:
            yield Pool(lambda func, items: pool.map(func, list(items), chunk_size=1))


class MismatchError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


def failing_items() -> Iterator[int]:
    yield from range(5)
    raise KeyError("from the items")


def deep(i: int) -> int:
    return deep(i) + 1


def at_three(strike: Callable[[], Any]) -> Callable[[Pool], Any]:
    """Run eight tasks, with a fault in task 3."""

    def call(pool: Pool) -> Any:
        return pool.map(Task(strike), range(8))

    return call


class Task:
    """A task that can be pickled where what it calls can."""

    def __init__(self, strike: Callable[[], Any]) -> None:
        self.strike = strike

    def __call__(self, i: int) -> Any:
        """Do nothing else than give back the item, but for task 3."""
        return self.strike() if i == 3 else i


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(0)


def exit_program() -> None:
    sys.exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def give_a_lambda() -> Any:
    return lambda: 0


def raise_mismatch() -> None:
    raise MismatchError(5, "the text")


def recurse() -> int:
    return deep(0)


section: Any = LOCK


def hold(i: int) -> int:
    with section:
        if i == 3:
            kill()
    return i


def hold_and_die(pool: Pool) -> Any:
    global section
    section = pool.critical
    return pool.map(hold, range(8))


def skip_turns(pool: Pool) -> Any:
    def work(i: int) -> int:
        if i % 2:
            with pool.ordered:
                pass
        return i

    return pool.map(work, range(8))


def draw(i: int) -> float:
    time.sleep(0.2)  # so that each worker has a task
    import numpy as np

    return float(np.random.random())


def draws_differ(pool: Pool) -> str:
    return "distinct" if len(set(pool.map(draw, range(2)))) == 2 else "identical"


def draw_here() -> None:
    import numpy as np

    np.random.random()


def refuse_the_second_fork() -> None:
    fork, calls = os.fork, itertools.count()

    def fork_once() -> int:
        if next(calls) == 1:
            raise BlockingIOError(11, "refused")
        return fork()

    os.fork = fork_once


def trivial(pool: Pool) -> Any:
    return pool.map(abs, range(8))


def sleep_long(i: int) -> None:
    time.sleep(60)


def sleep(pool: Pool) -> Any:
    return pool.map(sleep_long, range(2))


def load_elsewhere(pool: Pool) -> str:
    array = sharedmem.full(3, 7.0) if hasattr(sharedmem, "full") else None
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).sum())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], input=pickle.dumps(array), capture_output=True
    )
    return {0: "attached"}.get(done.returncode, f"that process ends with {done.returncode}")


class Fault(NamedTuple):
    """A fault, and how to tell what became of it.

    Attributes
    ----------
    title : str
        What strikes.
    call : callable
        Called with a pool; lets it strike. What it returns is printed if it is text.
    prepare : callable
        Called before there is a pool.
    cause : str
        Pattern of an error that names the cause.
    signal : int or None
        What the coordinator, or its process group, gets from outside meanwhile.
    without : tuple of str
        Peers that it cannot strike.
    """

    title: str
    call: Callable[[Pool], Any]
    cause: str = ""
    signal: int | None = None
    without: tuple[str, ...] = ()
    prepare: Callable[[], object] = int


KILLED = r"SIGKILL|signal 9|exit code:? -9|exitcode=-9"
PLAIN = (POOL, FUTURES, JOBLIB, MPIRE)
FAULTS = {
    "kill": Fault("SIGKILL in a task", at_three(kill), KILLED),
    "critical": Fault("SIGKILL inside a critical section", hold_and_die, KILLED, None, (JOBLIB,)),
    "crash": Fault("a segfault in a task", at_three(crash), r"SIGSEGV|signal 11|-11"),
    "exit": Fault("`os._exit(0)` in a task", at_three(leave), "exited with status 0|exitcode=0"),
    "sysexit": Fault("`sys.exit(3)` in a task", at_three(exit_program), "SystemExit|3"),
    "interrupt": Fault("KeyboardInterrupt in a task", at_three(interrupt), "KeyboardInterrupt"),
    "recursion": Fault("infinite recursion", at_three(recurse), "RecursionError"),
    "result": Fault("a result that cannot be pickled", at_three(give_a_lambda), "lambda"),
    "exception": Fault(
        "an exception that cannot be unpickled", at_three(raise_mismatch), "5: the text"
    ),
    "items": Fault(
        "an exception in the iterator of the items",
        lambda pool: pool.map(abs, failing_items()),
        "from the items",
    ),
    "ordered": Fault("tasks that skip their turn", skip_turns, without=PLAIN),
    "fork": Fault(
        "the second fork is refused",
        trivial,
        "refused",
        without=(JOBLIB,),
        prepare=refuse_the_second_fork,
    ),
    "ctrl-c": Fault("Ctrl-C while tasks run", sleep, "KeyboardInterrupt", signal.SIGINT),
    "coordinator": Fault("SIGKILL of the coordinator", sleep, signal=signal.SIGKILL),
    "random": Fault("`np.random.random()` in two workers", draws_differ, prepare=draw_here),
    "pickle": Fault("an array pickled to another process", load_elsewhere, without=PLAIN),
}


def perform(peer: str, fault: Fault) -> None:
    """Run a fault in this process, and print the outcome."""
    sys.setrecursionlimit(1000)
    if fault.signal == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    fault.prepare()
    began = time.perf_counter()
    try:
        with pool_of(peer) as pool:
            print("begun", flush=True)
            try:
                report(ending_of(fault.call(pool)), began)
            except BaseException as error:
                report(describe(error, fault.cause), began)
            print(json.dumps(trivial(pool) == list(range(8))), flush=True)
    except BaseException as error:
        # Before a task has run, or when the pool was asked to work again.
        report(describe(error, fault.cause), began)


def report(ending: str, began: float) -> None:
    print(json.dumps([ending, time.perf_counter() - began]), flush=True)


def ending_of(result: Any) -> str:
    if isinstance(result, list) and None in result:
        return "wrong results"
    return result if isinstance(result, str) else "returned"


def describe(error: BaseException, cause: str) -> str:
    """Return the outcome in words, and whether it names the cause."""
    known = [f"{type(error).__name__}: {error}"]
    while (error := error.__cause__ or error.__context__) is not None:  # type: ignore[assignment]
        known.append(f"{type(error).__name__}: {error}")
    name = known[0].split(":")[0]
    return f"{name} names it" if re.search(cause, " ".join(known)) else name


def strike(peer: str, name: str, python: str) -> str:
    """Run a peer with a fault in its own interpreter; return a cell of the table."""
    fault = FAULTS[name]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" or peer != OLD}
    process = subprocess.Popen(
        [python, "-m", "tables.faults", "--perform", peer, name],
        cwd=BENCHMARKS,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    if fault.signal is not None:
        process.stdout.readline()
        time.sleep(1)
        send = os.killpg if fault.signal == signal.SIGINT else os.kill
        send(process.pid, fault.signal)
    try:
        process.wait(LIMIT_SECONDS)
        hangs = False
    except subprocess.TimeoutExpired:
        hangs = True
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := alive_in(process.pid)) and not hangs and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    out, err = process.communicate()
    return cell(fault, out, err, hangs, len(left))


def reports_in(out: str) -> Iterator[Any]:
    """Yield the reports, and skip what a peer has printed."""
    for line in out.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found = json.loads(line)
            if isinstance(found, list | bool):
                yield found


def cell(fault: Fault, out: str, err: str, hangs: bool, n_left: int) -> str:
    """Return what happened, in a few words."""
    reports = list(reports_in(out))
    parts = []
    if fault.signal == signal.SIGKILL:
        return f"{n_left} orphans" if n_left else "no worker left"
    if reports:
        ending, seconds = reports[0]
        parts.append(f"{ending}, {seconds - (fault.signal is not None):.1f} s")
        if hangs:
            parts.append("its pool then hangs")
        elif reports[-1] is False:
            parts.append("next call wrong")
        elif "begun" in out and reports[-1] is not True:
            parts.append("pool lost")
    else:
        parts.append("hangs" if hangs else "process lost")
    if fault.signal is not None:
        n_traces = err.count("Traceback (most recent call last)")
        parts.append(f"{n_traces} tracebacks" if n_traces else "quiet")
    if n_left and not hangs:
        parts.append(f"{n_left} orphans")
    return "; ".join(parts)


def alive_in(session: int) -> list[int]:
    """Return the processes of a session that are not zombies."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, its_session, *_ = file.read_text().rpartition(")")[2].split()
            if int(its_session) == session and state not in "ZX":
                found.append(int(file.parent.name))
    return found


def lines_of_table(options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table, each when it is known."""
    peers = [peer for peer in PEERS if is_there(peer)]
    named = [peer for peer in (JOBLIB, MPIRE, OURS) if peer in peers]
    versions = ", ".join(f"{peer} {importlib.metadata.version(peer)}" for peer in named)
    yield (
        f"Two workers; Linux, Python {platform.python_version()}, {versions}. A call that takes "
        f"more than {LIMIT_SECONDS:.0f} s hangs."
    )
    if missing := [peer for peer in PEERS if peer not in peers]:
        yield f"Not installed: {', '.join(missing)}."
    yield ""
    yield f"| fault | {' | '.join(peers)} |"
    yield "| --- " * (len(peers) + 1) + "|"
    for name in options.only:
        cells = [FAULTS[name].title]
        for peer in peers:
            python = options.old_python if peer == OLD else sys.executable
            can = python is not None and peer not in FAULTS[name].without
            cells.append(strike(peer, name, python) if can else "-")
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old-python", help="interpreter of an environment with sharedmem 0.3.8")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="FAULT")
    parser.add_argument("--output", type=Path, help="a page whose table is replaced")
    parser.add_argument("--perform", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.perform:
        peer, name = options.perform
        perform(peer, FAULTS[name])
        return
    lines = []
    for line in lines_of_table(options):
        print(line, flush=True)
        lines.append(f"{line}\n")
    if options.output is not None:
        before, _, rest = options.output.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        options.output.write_text("".join([before, BEGIN, *lines, END, after]))


if __name__ == "__main__":
    main()
