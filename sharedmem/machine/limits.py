"""Cores and memory that this process may use."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from sharedmem.errors import warn_caller
from sharedmem.machine.proc import lines

_PROC = Path("/proc")
_CPU_VARIABLES = ("OMP_NUM_THREADS", "PBS_NUM_PPN", "SLURM_CPUS_PER_TASK")


def cpu_count() -> int:
    """Return the number of cores that this process may use, the default number of workers.

    The first of these that gives a number is used: the environment variables ``OMP_NUM_THREADS``
    (the first entry of a list such as ``"4,2"``), ``PBS_NUM_PPN``, and ``SLURM_CPUS_PER_TASK``;
    then the cores in the affinity mask, or the CPU quota of the control group if that is less.
    Variables that Dask has set in this process for its workers, as ``LocalCluster`` does, are
    ignored.

    Returns
    -------
    int
        At least 1. A quota of 1.5 cores counts as 2.

    Warns
    -----
    RuntimeWarning
        If a variable is not a positive integer; it is then ignored.

    See Also
    --------
    MapReduce : A pool, which has this number of workers by default.

    Examples
    --------
    >>> import os, sharedmem
    >>> os.environ["OMP_NUM_THREADS"] = "3,2"
    >>> sharedmem.cpu_count()
    3
    >>> del os.environ["OMP_NUM_THREADS"]
    """
    return _count_cpus()[0]


def cpu_source() -> str:
    """Return the name of the source of :func:`cpu_count`: a variable, mask, or quota."""
    return _count_cpus()[1]


def total_memory() -> int:
    """Return the memory limit of this process in bytes.

    The limit is the memory of the machine, or the limit of the control group (version 1 or 2) if
    that is less. Swap space does not count.

    Returns
    -------
    int
        The limit in bytes.

    See Also
    --------
    available_memory : Return the memory that is not in use.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.total_memory() >= sharedmem.available_memory() > 0
    True
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(limit for limit, _ in _memory_limits())])


# Fewer bytes are not worth a look at the files of the system, which takes a millisecond.
NEGLIGIBLE_BYTES = 16 << 20


def available_memory() -> int:
    """Return the memory that can be used without swapping, in bytes.

    This is what is left on the machine, or below the limit of the control group (version 1 or 2)
    if that is less. Page cache that can be dropped counts as available.

    Returns
    -------
    int
        At least 0, at most :func:`total_memory`.

    See Also
    --------
    total_memory : Return the memory limit.

    Examples
    --------
    >>> import sharedmem
    >>> n = sharedmem.available_memory() // 8  # float64 elements that fit
    """
    meminfo = (line.split() for line in lines(_PROC / "meminfo"))
    machine = [int(fields[1]) * 1024 for fields in meminfo if fields[0] == "MemAvailable:"]
    groups = [limit - used for limit, used in _memory_limits()]
    return max(0, min([total_memory(), *machine, *groups]))


def _count_cpus() -> tuple[int, str]:
    for name in _CPU_VARIABLES:
        text = os.environ.get(name, "").strip()
        if not text or _is_for_dask_workers(name):
            continue
        with contextlib.suppress(ValueError):
            count = int(text.split(",")[0])
            if count > 0:
                return count, name
        warn_caller(
            f"{name}={text!r} is ignored, since it is not a positive number of cores; set it to "
            "one, or unset it"
        )
    if hasattr(os, "sched_getaffinity"):
        cores, source = len(os.sched_getaffinity(0)), "affinity mask"
    else:
        cores, source = os.cpu_count() or 1, "number of cores"
    quota = math.ceil(min([cores, *_cpu_quotas()]))
    return (quota, "quota of the control group") if quota < cores else (cores, source)


def _is_for_dask_workers(name: str) -> bool:
    """Return whether Dask has set a variable in this process for workers that it started.

    Dask sets several variables together and leaves them set. In the workers themselves they are
    set from the start.
    """
    if "distributed.nanny" not in sys.modules:
        return False
    given = sys.modules["dask"].config.get("distributed.nanny.pre-spawn-environ", {})
    if name not in given or any(os.environ.get(key) != str(given[key]) for key in given):
        return False
    try:
        at_start = (_PROC / "self/environ").read_bytes()
    except OSError:
        return False
    return not any(each.startswith(name.encode() + b"=") for each in at_start.split(b"\0"))


def _cpu_quotas() -> Iterator[float]:
    """Yield the quota, in cores, of each control group of this process."""
    for directory in _control_groups("cpu"):
        # Version 2 has the first file, version 1 the others.
        names = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
        fields = [field for name in names for field in " ".join(lines(directory / name)).split()]
        if len(fields) == 2 and fields[0].isdecimal():
            yield int(fields[0]) / int(fields[1])


def _memory_limits() -> Iterator[tuple[int, int]]:
    """Yield the limit and the use, in bytes, of each control group of this process."""
    names = (
        ("memory.max", "memory.current", "inactive_file "),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
    )
    for directory in _control_groups("memory"):
        for limit, used, droppable in names:
            numbers = [*lines(directory / limit), *lines(directory / used)]
            if len(numbers) == 2 and numbers[0].isdecimal():
                counts = lines(directory / "memory.stat")
                cached = sum(int(line.split()[1]) for line in counts if line.startswith(droppable))
                yield int(numbers[0]), int(numbers[1]) - cached


@functools.cache
def _control_groups(controller: str) -> tuple[Path, ...]:
    """Return the folders of this process's control group and of its parents.

    Each of them may have a limit. In a container the root of the mount may be below the root of
    the hierarchy, so the path is relative to it.
    """
    paths = {}
    for line in lines(_PROC / "self/cgroup"):
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    folders: list[Path] = []
    for line in lines(_PROC / "self/mountinfo"):
        mount, _, filesystem = line.partition(" - ")
        root, mount_point = mount.split()[3:5]
        kind, _, options = filesystem.split()[:3]
        name = "" if kind == "cgroup2" else controller  # version 2 has one unnamed hierarchy
        known = kind == "cgroup2" or (kind == "cgroup" and controller in options.split(","))
        if known and name in paths:
            top = Path(mount_point)
            inside = os.path.relpath(paths[name], root)
            folder = top if inside.startswith("..") else top / inside
            folders += [level for level in (folder, *folder.parents) if level.is_relative_to(top)]
    return tuple(folders)
