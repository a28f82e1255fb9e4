"""The threads that fill segments: none works on, all errors arrive."""

import threading
import time

import numpy as np
import pytest

import sharedmem
from sharedmem.machine.helper_threads import in_threads
from sharedmem.memory import fill


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")


def test_each_item_is_taken_once():
    seen, names = [], set()

    def work(item):
        time.sleep(0.001)
        seen.append(item)
        names.add(threading.get_ident())

    in_threads(work, range(40), 4)
    assert sorted(seen) == list(range(40))
    assert 1 < len(names) <= 4


def test_one_thread_is_this_one():
    names = set()
    in_threads(lambda _: names.add(threading.get_ident()), range(5), 1)
    assert names == {threading.get_ident()}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_error_stops_all_and_is_raised(error):
    seen = []

    def work(item):
        seen.append(item)
        if item == 3:
            raise error("here")
        time.sleep(0.001)

    with pytest.raises(error, match="here"):
        in_threads(work, range(1000), 4)
    assert len(seen) < 50


def test_no_thread_to_be_had(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert (sharedmem.full(2_000_000, 2.0) == 2).all()


@pytest.mark.parametrize("nbytes", [1, 8, 4096, 1 << 20])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 3), (2, 3, 4, 5), (1, 1), (3, 0, 2)])
def test_pieces_cover_and_are_disjoint(tuned, shape, nbytes):
    tuned(fill_piece_bytes=nbytes)
    visits = np.zeros(shape, "i8")
    for index in fill._pieces(visits):
        piece = visits[(*index, ...)]
        assert piece.flags.c_contiguous
        assert piece.nbytes <= max(nbytes, 8)
        piece += 1
    assert (visits == 1).all()


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    with open(path, "rb") as file, pytest.raises(EOFError, match="ended at byte 100"):
        fill.read(sharedmem.memory.segments.Segment(200), file.fileno(), 0)
