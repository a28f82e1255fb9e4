"""Options that are refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from zarr.core.sync import cleanup_resources

from sharedmem.cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def faulty_files(field):
    np.save("good.npy", field)
    np.save("complex.npy", np.ones(3, complex))
    np.save("objects.npy", np.array([{}, []], object))
    Path("damaged.npy").write_bytes(b"no array at all")
    Path("short.npy").write_bytes(Path("good.npy").read_bytes()[:500])
    np.savez("nothing.npz")
    Path("damaged.npz").write_bytes(b"no archive at all")
    Path("raw.dat").write_bytes(bytes(20))
    Path("folder").mkdir()
    h5py.File("nothing.h5", "w").close()
    Path("damaged.h5").write_bytes(b"no file at all")
    zarr.open_group("nothing.zarr", mode="w")
    yield
    cleanup_resources()


@pytest.mark.usefixtures("faulty_files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.npy", "missing.npy: No such file or directory"),
        ("folder", "folder: Is a directory"),
        ("good.npy missing.npz", "missing.npz: No such file or directory"),
        ("complex.npy", "complex.npy: dtype complex128 is not supported.*"),
        ("objects.npy", "objects.npy: .*"),
        ("damaged.npy", "damaged.npy: .*"),
        ("short.npy", "short.npy: .*"),
        ("damaged.npz", "damaged.npz: File is not a zip file"),
        ("nothing.npz", "nothing.npz: contains no array"),
        ("nothing.h5", "nothing.h5: contains no array"),
        ("damaged.h5", "damaged.h5: .*"),
        ("nothing.zarr", "nothing.zarr: contains no array"),
        ("missing.zarr", "missing.zarr: .*"),
        ("raw.dat", "raw.dat: unknown suffix; give --dtype to read it as a raw file"),
        (
            "raw.dat --dtype f8",
            "raw.dat: its 20 bytes are not a multiple of the 8 bytes .*",
        ),
        ("raw.dat --dtype f4 --shape 2,3", r"raw.dat: has 20 bytes, but .*\(2, 3\).* requires 24"),
        ("raw.dat --dtype f4 --shape 2,x", ".*'2,x' is not a shape; write 100,200"),
        ("raw.dat --dtype f4 --shape=-5", ".*'-5' is not a shape; write 100,200"),
        ("raw.dat --dtype float31", ".*'float31' is not a NumPy dtype"),
        ("raw.dat --shape 5", "--shape requires --dtype"),
        ("good.npy --dtype f8", "--dtype and --shape apply to raw files only"),
        ("good.npy --axis 2", "good.npy: axis 2 is out of bounds for an array of dimension 2"),
        ("good.npy --axis 0 --bins 5", "--bins and --range cannot be combined with --axis.*"),
        ("good.npy --bins 0", ".*'0' is not an integer from 1 to 1000000"),
        ("good.npy --bins many", ".*'many' is not an integer.*"),
        ("good.npy --bins 3000000000", ".*'3000000000' is not an integer from.*"),
        ("good.npy --range 1e17 100000000000000016", "--range .*: Too many bins.*"),
        ("/dev/null --dtype f8", "/dev/null: not a regular file"),
        ("good.npy --range 2 1", "--range 2 1: LO must be less than HI, and both finite"),
        ("good.npy --range 0 inf", "--range 0 inf: LO must be less.*"),
        ("good.npy --range 0", ".*--range: expected 2 arguments"),
        ("good.npy --workers -1", "--workers must be at least 0, got -1"),
        ("good.npy --plot picture.xyz", "--plot picture.xyz: the name must end in one of .*png.*"),
        ("good.npy --plot no/p.png", "--plot no/p.png: folder no does not exist"),
        ("good.npy --frobnicate", ".*unrecognized arguments: --frobnicate"),
        ("", ".*the following arguments are required: FILE"),
    ],
)
def test_errors_are_one_line_and_exit_status_2(arguments, message, capsys):
    try:
        code = main(["stats", *arguments.split()])
    except SystemExit as end:  # from argparse
        code = end.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert re.fullmatch(rf"sharedmem( stats)?: {message}\n", err)


def test_a_command_is_required(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_plot_without_matplotlib(field, capsys, monkeypatch):
    np.save("field.npy", field)
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert main(["stats", "field.npy", "--plot", "p.png"]) == 2
    assert "pip install 'sharedmem[plot]'" in capsys.readouterr().err


def test_a_backend_of_matplotlib_may_be_missing(field):
    np.save("a.npy", field)
    command = [sys.executable, "-m", "sharedmem", "stats", "a.npy", "--plot", "a.nix"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "nonsense"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "the name must end in one of" in done.stderr
