"""Standard output, standard error, and terminals."""

import errno
import io
import os
import pty
import sys
import termios

import numpy as np
import pytest

import sharedmem
from sharedmem.cli.main import main


def test_a_reader_may_stop_reading(capsys, monkeypatch):
    np.save("numbers.npy", np.arange(10))
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert main(["stats", "numbers.npy"]) == 1
    # Closing the pipe, like the flush at exit, has raised nothing.
    assert capsys.readouterr().err == ""


def test_progress_is_shown_on_a_terminal_only(capsys, monkeypatch):
    np.save("large.npy", np.arange(5_000_000))
    ours, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with open(terminal, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        assert main(["stats", "large.npy"]) == 0
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"100%" in shown
    assert "%" not in capsys.readouterr().out


class Full(io.TextIOWrapper):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_streams_that_cannot_be_written_to(field, capsys, monkeypatch):
    np.save("a.npy", field)
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert main(["stats", "a.npy"]) == 2
        assert capsys.readouterr().err == "sharedmem stats: standard output is closed\n"
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            assert main(["stats", "a.npy"]) == 0
            assert main(["stats", "missing.npy"]) == 2
            with sharedmem.MapReduce(np=2, progress=True) as pool:
                assert pool.map(abs, [-1, 1]) == [1, 1]
        capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full(io.BytesIO()))
        assert main(["stats", "a.npy"]) == 1
    err = capsys.readouterr().err
    assert "cannot write to standard output: No space left on device" in err


@pytest.mark.usefixtures("open_fonts")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_and_bars_on_any_terminal(field, encoding, monkeypatch):
    name = os.fsdecode("größe ".encode() + b"\xe9 $a$b^.npy")
    with open(name, "wb") as file:
        np.save(file, field)
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    err = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["stats", name, "--plot", "a.png"]) == 0
    assert main(["stats", f"{name}x"]) == 2
    shown = out.buffer.getvalue().decode(encoding)
    assert r"\udce9 $a$b^.npy" in shown
    assert ("#" if encoding != "utf-8" else "█") in shown
    assert "No such file" in err.buffer.getvalue().decode(encoding)
