"""Files of /proc and /sys: their lines and fields, and the mappings of this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def lines(path: str | Path) -> list[str]:
    """Return the lines of a file; none if it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


def stat_fields(pid: int | str) -> list[str]:
    """Return the fields of ``/proc/<pid>/stat`` from the third on; none if there is no process."""
    # The second one, the name in parentheses, may contain parentheses, spaces, and line breaks.
    return " ".join(lines(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def mappings() -> Iterator[tuple[int, int, bytes, int, str]]:
    """Yield the first address of each mapping, the end, its flags, and inode and name of its file.

    Nothing is yielded where there is no ``/proc/self/maps``.
    """
    with contextlib.suppress(OSError), open("/proc/self/maps", "rb") as file:
        for line in file:
            bounds, flags, _, _, inode, *name = line.split(maxsplit=5)
            first, end = (int(bound, 16) for bound in bounds.split(b"-"))
            yield first, end, flags, int(inode), os.fsdecode(b"".join(name).strip())
