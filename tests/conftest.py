"""Fail each test that leaves anything behind: a process, a thread, a descriptor, or memory."""

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

GRACE_SECONDS = 2.0


def children() -> set[str]:
    """Processes, zombies among them, that this one has started."""
    found: set[str] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        # A thread that has been joined may end while the kernel still lists it.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(file.read_text().split())
    # multiprocessing keeps this one, and its pipe, until the interpreter ends.
    return found - {str(resource_tracker._resource_tracker._pid)}


def descriptors() -> set[str]:
    kept = resource_tracker._resource_tracker._fd
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if int(fd) != kept:
            found.add(f"{fd} -> {target}")
    return found


def threads() -> set[str]:
    # Array calls keep their helpers asleep until the process ends.
    return {
        f"{thread.name} ({thread.ident})"
        for thread in threading.enumerate()
        if thread.name != "sharedmem"
    }


def segments() -> set[str]:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {line for line in maps if "memfd:" in line}


def shared_memory_files() -> set[str]:
    return set(os.listdir("/dev/shm"))


KINDS: dict[str, Callable[[], set[str]]] = {
    "processes": children,
    "descriptors": descriptors,
    "threads": threads,
    "mapped segments": segments,
    "files in /dev/shm": shared_memory_files,
}


failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[failed] = item.stash.get(failed, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    before = {kind: look() for kind, look in KINDS.items()}
    yield
    if request.node.stash[failed]:
        return  # its traceback holds on to what it used
    deadline = time.monotonic() + GRACE_SECONDS
    while left := {kind: new for kind, look in KINDS.items() if (new := look() - before[kind])}:
        if time.monotonic() > deadline:
            pytest.fail(f"the test left behind {left}")
        gc.collect()
        time.sleep(0.01)
