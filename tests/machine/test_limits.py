"""Cores and memory: environment, affinity mask, and control groups of both versions."""

import os
import sys
import types
import warnings
from pathlib import Path

import pytest

import sharedmem
from sharedmem.machine import limits

VARIABLES = ("OMP_NUM_THREADS", "PBS_NUM_PPN", "SLURM_CPUS_PER_TASK")
GIB = 1 << 30


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    forget = limits._control_groups.cache_clear
    forget()
    yield
    forget()


@pytest.fixture
def cores(monkeypatch):
    """Make the affinity mask hold some cores, and no control group limit them."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 7})
    monkeypatch.setattr(limits, "_control_groups", lambda _: ())
    return 5


@pytest.fixture
def group(monkeypatch, tmp_path):
    """Put this process into a control group `/job/task` of either version."""

    def make(version, files, membership="/job/task", root="/"):
        top = tmp_path / "groups"
        controllers = "cpu,memory" if version == 1 else ""
        kind = "cgroup - none rw,cpu,memory" if version == 1 else "cgroup2 - none rw"
        kind, _, options = kind.partition(" - ")
        (tmp_path / "self").mkdir()
        (tmp_path / "self/cgroup").write_text(f"3:{controllers}:{membership}\n1:name=x:/\n")
        (tmp_path / "self/mountinfo").write_text(
            "22 1 8:1 / / rw - ext4 /dev/root rw\n"
            f"31 22 0:26 {root} {top} rw shared:4 - {kind} {options}\n"
        )
        (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {32 * GIB // 1024} kB\n")
        for name, text in files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(limits, "_PROC", tmp_path)
        monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 64 * GIB, "SC_PAGE_SIZE": 1}.get)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    return make


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(("text", "count"), [("4", 4), ("4,2", 4), (" 3 ", 3), ("128", 128)])
def test_environment_variables_give_the_number_of_cores(monkeypatch, name, text, count):
    monkeypatch.setenv(name, text)
    assert sharedmem.cpu_count() == count
    assert limits.cpu_source() == name


def test_order_of_environment_variables(monkeypatch):
    for count, name in zip((4, 3, 2), reversed(VARIABLES), strict=True):
        monkeypatch.setenv(name, str(count))
        assert sharedmem.cpu_count() == count


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5", ",4"])
def test_a_warning_names_an_invalid_variable(monkeypatch, cores, name, text):
    monkeypatch.setenv(name, text)
    with pytest.warns(RuntimeWarning, match=f"{name}='{text}' is ignored, since") as caught:
        counts = [sharedmem.cpu_count(), sharedmem.MapReduce().np]
    assert counts == [cores, cores]
    assert {warning.filename for warning in caught} == {__file__}


def test_empty_variables_are_ignored(monkeypatch, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sharedmem.cpu_count() == cores
    monkeypatch.setenv("PBS_NUM_PPN", "6")
    assert sharedmem.cpu_count() == 6


def test_affinity_mask(cores):
    assert sharedmem.cpu_count() == cores
    assert limits.cpu_source() == "affinity mask"


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (1, {"job/cpu.cfs_quota_us": "{}", "job/cpu.cfs_period_us": "100000"}),
        (2, {"job/cpu.max": "{} 100000", "job/task/cpu.max": "max 100000"}),
    ],
)
@pytest.mark.parametrize(
    ("quota", "count"), [("50000", 1), ("150000", 2), ("200000", 2), ("900000", 8)]
)
def test_cpu_quota_of_a_parent_group(group, version, files, quota, count):
    group(version, {name: text.format(quota) for name, text in files.items()})
    assert sharedmem.cpu_count() == count
    assert limits.cpu_source() == ("affinity mask" if count == 8 else "quota of the control group")


def test_no_cpu_quota(group):
    group(1, {"job/task/cpu.cfs_quota_us": "-1", "job/task/cpu.cfs_period_us": "100000"})
    assert sharedmem.cpu_count() == 8


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (
            1,
            {
                "job/memory.limit_in_bytes": str(4 * GIB),
                "job/memory.usage_in_bytes": str(3 * GIB),
                "job/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}\n",
                "job/task/memory.limit_in_bytes": str(2**63 - 4096),
                "job/task/memory.usage_in_bytes": "0",
            },
        ),
        (
            2,
            {
                "job/memory.max": str(4 * GIB),
                "job/memory.current": str(3 * GIB),
                "job/memory.stat": f"anon 5\ninactive_file {GIB}\n",
                "job/task/memory.max": "max",
                "job/task/memory.current": "0",
            },
        ),
    ],
)
def test_memory_limit_of_a_control_group(group, version, files):
    group(version, files)
    assert sharedmem.total_memory() == 4 * GIB
    assert sharedmem.available_memory() == 2 * GIB


def test_control_groups_mounted_in_a_container(group):
    files = {"memory.max": str(GIB), "memory.current": "0"}
    group(2, files, membership="/docker/abc", root="/docker/abc")
    assert sharedmem.total_memory() == sharedmem.available_memory() == GIB


def test_control_group_outside_the_mount(group):
    files = {"memory.max": str(GIB), "memory.current": "0"}
    group(2, files, membership="/elsewhere", root="/docker/abc")
    assert sharedmem.total_memory() == GIB


def test_memory_without_control_groups(group):
    group(2, {})
    assert sharedmem.total_memory() == 64 * GIB
    assert sharedmem.available_memory() == 32 * GIB


def test_memory_of_this_machine():
    assert 0 < sharedmem.available_memory() <= sharedmem.total_memory()


def test_variables_that_dask_sets_for_its_workers_are_ignored(monkeypatch):
    if b"OMP_NUM_THREADS=" in Path("/proc/self/environ").read_bytes():
        pytest.skip("so a worker of Dask's looks")
    given = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1}
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    cores = sharedmem.cpu_count()
    dask = types.ModuleType("dask")
    dask.config = {"distributed.nanny.pre-spawn-environ": given}
    monkeypatch.setitem(sys.modules, "dask", dask)
    monkeypatch.setitem(sys.modules, "distributed.nanny", dask)
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    assert sharedmem.cpu_count() == cores
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert sharedmem.cpu_count() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS")
    assert sharedmem.cpu_count() == 1
