"""Files of /proc and /sys: their lines and fields, and the mappings of this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


def lines(path: str | Path) -> list[str]:
    """Return the lines of a file; none if it cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read().decode(errors="replace").splitlines()
    return []


def stat_fields(pid: int | str) -> list[bytes]:
    """Return the fields of ``/proc/<pid>/stat`` from the third on; none if there is no process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        # The second one, the name in parentheses, may contain parentheses and spaces.
        return file.read().rpartition(b")")[2].split()
    return []


def mappings() -> Iterator[tuple[int, int, bytes, bytes]]:
    """Yield the first address of each mapping, the end, the flags, and the rest of its line.

    Nothing is yielded where there is no ``/proc/self/maps``.
    """
    with contextlib.suppress(OSError), open("/proc/self/maps", "rb") as file:
        for line in file:
            bounds, flags, rest = line.split(maxsplit=2)
            first, end = bounds.split(b"-")
            yield int(first, 16), int(end, 16), flags, rest


def proportional_memory() -> int:
    """Return bytes of memory of this process, each page divided by the number of its processes.

    It is 0 where the system does not tell. That takes a millisecond or more.
    """
    for line in lines("/proc/self/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class Resident(NamedTuple):
    """Bytes of mappings that are in memory.

    Attributes
    ----------
    present : int
        All of them.
    huge : int
        Those on huge pages.
    shared : int
        Those that other processes have mapped, too, and touched.
    """

    present: int = 0
    huge: int = 0
    shared: int = 0


_COUNTED = {
    "Rss:": 0,
    "AnonHugePages:": 1,
    "ShmemPmdMapped:": 1,
    "Shared_Clean:": 2,
    "Shared_Dirty:": 2,
}


def resident_between(start: int, stop: int) -> Resident | None:
    """Return what is in memory of the mappings from `start` to `stop`; None if it is not told.

    The kernel looks at the pages of each mapping up to these.
    """
    counts, is_in = [0, 0, 0], False
    with contextlib.suppress(OSError), open("/proc/self/smaps") as file:
        for line in file:
            key, value, *_ = line.split()
            if "-" in key and not key.endswith(":"):
                first, _, end = key.partition("-")
                if int(first, 16) >= stop:
                    break
                is_in = int(first, 16) >= start and int(end, 16) <= stop + (2 << 20)
            elif is_in and key in _COUNTED:
                counts[_COUNTED[key]] += int(value) * 1024
        return Resident(*counts)
    return None
