# ruff: noqa: SIM115 - what tasks inherit is not opened in them
"""Files that were opened before the fork are written and read by tasks."""

import bz2
import contextlib
import csv
import gzip
import io
import logging
import lzma
import os
import resource
import signal
import tarfile
import zipfile

import pytest

import sharedmem
from interrupts import Strike
from leftovers import look
from sharedmem.memory import open_files

N_TASKS = 40
LINES = [f"line {i}" for i in range(N_TASKS)]


@pytest.fixture
def pool():
    return sharedmem.MapReduce(np=2)


@pytest.mark.parametrize("mode", ["w", "a", "r+", "x", "w+"])
@pytest.mark.parametrize("buffering", [-1, 1, 100_000])
def test_lines_of_ordered_blocks_arrive_in_order(tmp_path, pool, mode, buffering):
    path = tmp_path / "out.txt"
    if mode != "x":
        path.write_text("" if mode != "a" else "before\n")
    with open(path, mode, buffering) as out:
        out.write("first\n")

        def work(i):
            with pool.ordered:
                out.write(f"line {i}\n")

        for _ in range(2):
            pool.map(work, range(N_TASKS), chunksize=1)
        out.write("last\n")
    before = ["before"] if mode == "a" else []
    assert path.read_text().splitlines() == [*before, "first", *LINES, *LINES, "last"]


def by_print(out, line):
    print(line, file=out)


def by_csv(out, line):
    csv.writer(out).writerow([line])


def by_stdout(out, line):
    with contextlib.redirect_stdout(out):
        print(line)


@pytest.mark.parametrize("write", [by_print, by_csv, by_stdout])
@pytest.mark.parametrize("block", ["ordered", "critical"])
def test_lines_of_sections_are_not_mixed(tmp_path, pool, write, block):
    with open(tmp_path / "out", "w") as out:

        def work(i):
            with getattr(pool, block):
                write(out, f"line {i}")

        pool.map(work, range(N_TASKS), chunksize=1)
    lines = (tmp_path / "out").read_text().splitlines()
    assert (lines if block == "ordered" else sorted(lines, key=LINES.index)) == LINES


def write_binary(path):
    return open(path, "wb")


def write_both_ways(path):
    return open(path, "wb+")


def write_unbuffered(path):
    return open(path, "wb", 0)


@pytest.mark.parametrize("opened", [write_binary, write_both_ways, write_unbuffered])
@pytest.mark.parametrize("call", ["map", "imap", "background"])
def test_output_of_tasks_without_sections_is_written_once(tmp_path, pool, opened, call):
    with opened(tmp_path / "out") as out:
        out.write(b"0123456789")

        def work(_):
            out.write(b"abcdefghij")

        if call == "background":
            sharedmem.background(work, 0).wait()
        else:
            list(getattr(pool, call)(work, range(N_TASKS)))
    text = (tmp_path / "out").read_bytes()
    assert text == b"0123456789" + b"abcdefghij" * (1 if call == "background" else N_TASKS)


class Unhashable(type):
    """The type of classes that are neither hashed nor compared."""

    def __eq__(cls, other):
        raise TypeError

    __hash__ = None


class Logger(io.TextIOWrapper, metaclass=type("Meta", (Unhashable, type(io.TextIOWrapper)), {})):
    """A user's writer."""


def test_writers_are_found_among_objects_of_any_type(tmp_path, pool):
    others = [Unhashable("Other", (), {})() for _ in range(3)]
    with open(tmp_path / "out", "wb") as file, Logger(file) as out:
        out.write("before\n")
        pool.map(lambda i: out.write(f"{i}\n"), range(3))
    assert len(others) == 3
    lines = (tmp_path / "out").read_text().splitlines()
    assert (lines[0], sorted(lines[1:])) == ("before", ["0", "1", "2"])


def test_lines_are_in_order_in_a_file_of_the_initializer(tmp_path):
    def enter():
        pool.local.out = open(tmp_path / "out", "a")

    pool = sharedmem.MapReduce(np=2, initializer=enter)

    def work(i):
        with pool.ordered:
            pool.local.out.write(f"line {i}\n")

    pool.map(work, range(N_TASKS), chunksize=1)
    assert (tmp_path / "out").read_text().splitlines() == LINES


def test_files_of_tasks_are_flushed_when_the_worker_ends(tmp_path, pool):
    kept = []

    def work(i):
        kept.append(open(tmp_path / f"{i}", "w"))
        kept[-1].write("text")
        if i == 2:
            raise sharedmem.StopProcessGroup

    pool.map(work, range(3))
    assert [(tmp_path / f"{i}").read_text() for i in range(3)] == ["text"] * 3


def test_output_of_a_failed_task_is_written(tmp_path):
    with open(tmp_path / "out", "w") as out:

        def work(i):
            out.write("text")
            raise ValueError

        with pytest.raises(sharedmem.WorkerException, match="ValueError"):
            sharedmem.MapReduce(np=1).map(work, [0])
    assert (tmp_path / "out").read_text() == "text"


def test_a_task_fails_if_its_output_cannot_be_written(tmp_path):
    def work(_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2, resource.RLIM_INFINITY))
        out.write("text")

    with open(tmp_path / "out", "w") as out:
        for call in (sharedmem.MapReduce(np=1).map, run_in_background):
            with pytest.raises(sharedmem.WorkerException, match="File too large"):
                call(work, [0])


def run_in_background(func, items):
    sharedmem.background(func, *items).wait()


def test_a_logging_handler_writes_each_record_once(tmp_path, pool):
    logger = logging.Logger("of a test")
    handler = logging.FileHandler(tmp_path / "log")
    logger.addHandler(handler)
    pool.map(lambda i: logger.warning("line %d", i), range(N_TASKS))
    handler.close()
    assert sorted((tmp_path / "log").read_text().splitlines(), key=LINES.index) == LINES


def add_to_zip(archive):
    archive.writestr("b", "text")


def add_to_tar(archive):
    archive.addfile(tarfile.TarInfo("b"), io.BytesIO())


def write_text(file):
    file.write("text" * 10_000)
    file.flush()


STATEFUL = {
    "gzip": (lambda path: gzip.open(path, "wt"), write_text),
    "bz2": (lambda path: bz2.open(path, "wt"), write_text),
    "lzma": (lambda path: lzma.open(path, "wt"), write_text),
    "zip": (lambda path: zipfile.ZipFile(path, "w"), add_to_zip),
    "tar": (lambda path: tarfile.open(path, "w"), add_to_tar),
    "tar.gz": (lambda path: tarfile.open(path, "w:gz"), add_to_tar),
}


@pytest.mark.parametrize("kind", STATEFUL)
def test_workers_refuse_to_write_to_inherited_archives(tmp_path, pool, kind):
    opened, write = STATEFUL[kind]
    with opened(tmp_path / "out") as out:
        with pytest.raises(sharedmem.WorkerException, match="Write in reduce="):
            pool.map(lambda i: write(out), range(2))
        write(out)
        pool.map(abs, [1, 2])

        def own(i):
            with opened(tmp_path / f"{i}") as mine:
                write(mine)

        pool.map(own, range(2))
    sizes = {(tmp_path / name).stat().st_size for name in ("out", "0", "1")}
    assert max(sizes) - min(sizes) < 20  # but for names and times in headers


@pytest.mark.parametrize("buffering", [-1, 0])
def test_each_worker_reads_from_the_offset_of_the_coordinator(tmp_path, pool, buffering):
    path = tmp_path / "in"
    path.write_bytes(b"head" + bytes(range(256)) * 1000)
    with open(path, "rb", buffering) as file:
        assert file.read(4) == b"head"

        def work(i):
            here = file.tell()
            file.seek(4 + 1000 * i)
            pool.barrier()
            found = file.read(10)
            file.seek(here)
            pool.barrier()
            return here, found == bytes((1000 * i + k) % 256 for k in range(10))

        assert pool.map(work, range(10), chunksize=1) == [(4, True)] * 10
        assert file.read(2) == b"\0\1"


def test_all_workers_read_members_of_an_inherited_archive(tmp_path, pool):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for i in range(20):
            archive.writestr(f"{i}", f"{i}" * 20_000)
    with zipfile.ZipFile(tmp_path / "in.zip") as archive:
        read = pool.map(lambda i: archive.read(f"{i}").decode(), range(20))
    assert read == [f"{i}" * 20_000 for i in range(20)]


def test_all_workers_read_a_deleted_file(tmp_path, pool):
    (tmp_path / "in").write_text("text\n" * 10_000)
    with open(tmp_path / "in") as file:
        (tmp_path / "in").unlink()
        assert pool.map(lambda i: len(file.readlines()), range(2), chunksize=1) == [10_000] * 2


def test_reopened_files_keep_their_flags_and_numbers(tmp_path, pool):
    path = tmp_path / "in"
    path.write_text("text")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        before = look()
        (own,) = pool.map(lambda i: (os.read(descriptor, 2), os.get_inheritable(descriptor)), [0])
        assert own == (b"te", False)
        assert os.read(descriptor, 4) == b"text"
        assert look() == before
    finally:
        os.close(descriptor)


def test_an_error_of_the_system_from_a_signal_handler_is_not_taken_for_one_of_a_file():
    def ring(*_):
        raise TimeoutError("mine")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for at in range(2, 40):
            with pytest.raises(TimeoutError, match="mine"), Strike(at, signal.SIGALRM):
                open_files.flush_output()
    finally:
        signal.signal(signal.SIGALRM, before)
