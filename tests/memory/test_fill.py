"""Segments are filled in pieces, by threads."""

import threading

import numpy as np
import pytest

import sharedmem
from sharedmem.memory import fill


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")


def test_arrays_are_filled_if_no_thread_can_be_started(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert (sharedmem.full(2_000_000, 2.0) == 2).all()


@pytest.mark.parametrize("nbytes", [1, 8, 4096, 1 << 20])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 3), (2, 3, 4, 5), (1, 1), (3, 0, 2)])
def test_pieces_are_contiguous_and_cover_an_array_once(shape, nbytes):
    visits = np.zeros(shape, "i8")
    for index in fill.pieces(visits, nbytes):
        piece = visits[(*index, ...)]
        assert piece.flags.c_contiguous
        assert piece.nbytes <= max(nbytes, 8)
        piece += 1
    assert (visits == 1).all()


@pytest.mark.parametrize("dtype", ["u1", "f4", "c16", "S3", "U5", "i4, f8"])
def test_a_value_fills_arrays_that_are_cut(tuned, dtype):
    tuned(fill_piece_bytes=1 << 12, clear_piece_bytes=1 << 13, fill_row_bytes=1 << 8)
    value = np.ones(1, dtype)[0]
    for _ in range(2):  # in new memory, and in memory that was kept
        for shape in (5001, (70, 71)):
            assert (sharedmem.full(shape, value, dtype) == value).all()
            assert (sharedmem.zeros(shape, dtype) == np.zeros((), dtype)).all()
            assert (sharedmem.copy(np.full(shape, value, dtype)) == value).all()


def test_a_file_that_shrinks_while_it_is_read_raises(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    with open(path, "rb") as file, pytest.raises(EOFError, match="ended at byte 100"):
        fill.read(sharedmem.memory.segments.Segment(200), file.fileno(), 0)
