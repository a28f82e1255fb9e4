"""Damaged files: a line on standard error each, and no crash."""

import json
import os
import re
import signal
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from zarr.core.sync import cleanup_resources

from sharedmem.cli import containers
from sharedmem.cli.main import main


def make_file(kind):
    """A file of one format: its name, and the parts of it that may be damaged."""
    values = np.random.default_rng(0).normal(size=(40, 25))
    if kind == "npy":
        np.save("a.npy", values)
    elif kind == "npz":
        np.savez("a.npz", x=values, y=np.arange(30))
    elif kind == "compressed.npz":
        np.savez_compressed("a.compressed.npz", x=values, y=np.arange(30))
    elif kind == "h5":
        with h5py.File("a.h5", "w") as file:
            file["x"] = np.arange(300)
            file.create_dataset("y", data=values, chunks=(10, 25), compression="gzip")
    else:
        zarr.create_array("a.zarr", data=values, chunks=(20, 25), overwrite=True)
        return "a.zarr", ["a.zarr/zarr.json", "a.zarr/c/0/0"]
    return f"a.{kind}", [f"a.{kind}"]


@pytest.mark.parametrize(
    ("kind", "n"), [("npy", 40), ("npz", 40), ("compressed.npz", 40), ("h5", 12), ("zarr", 12)]
)
def test_a_damaged_file_is_described_or_reported_on_one_line(kind, n, capsys):
    rng = np.random.default_rng(1)
    for at in range(n):
        name, parts = make_file(kind)
        part = Path(parts[at % len(parts)])
        content = bytearray(part.read_bytes())
        # Headers are short, and have most of what can be wrong.
        place = int(rng.integers(min(len(content), 300) if at % 3 else len(content)))
        if at % 2:
            del content[place:]
        else:
            content[place : place + 1 + at % 4] = rng.bytes(1 + at % 4)
        part.write_bytes(content)
        code = main(["stats", name, "--workers", "2"])
        out, err = capsys.readouterr()
        damage = f"{part} at {place}: {err}"
        assert code in (0, 2), damage
        assert "Traceback" not in err, damage
        lines = err.splitlines()
        assert all(line.startswith(f"sharedmem stats: {name}") for line in lines), damage
        assert bool(lines) is (code == 2), damage
        assert out or code == 2, damage
    cleanup_resources()


def header(shape, descr="'<f8'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


SHAPES = ["(True, 5)", "(-1,)", "(9, -1)", f"({10**15},)", f"({2**61},)", f"({2**63}, 0)", "5"]


@pytest.mark.parametrize("shape", SHAPES)
def test_headers_with_invalid_shapes(shape, capsys):
    Path("a.npy").write_bytes(header(shape) + bytes(80))
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("a.npy", header(shape) + bytes(80))
    for name in ("a.npy", "a.npz"):
        assert main(["stats", name]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(rf"sharedmem stats: {name}[^\n]*: [^\n]+\n", err)


def test_other_members_of_a_damaged_archive_are_described(capsys):
    np.savez("a.npz", first=np.arange(100.0), second=np.arange(5))
    content = bytearray(Path("a.npz").read_bytes())
    content[content.find(b"\x93NUMPY") + 500] ^= 255
    Path("a.npz").write_bytes(content)
    assert main(["stats", "a.npz"]) == 2
    out, err = capsys.readouterr()
    assert err == "sharedmem stats: a.npz[first]: Bad CRC-32 for file 'first.npy'\n"
    assert "a.npz[second]\n" in out
    content[content.rfind(b"PK\x01\x02") + 8] |= 1  # marked as encrypted
    Path("a.npz").write_bytes(content)
    assert main(["stats", "a.npz:second"]) == 2
    assert "encrypted" in capsys.readouterr().err
    content[content.rfind(b"PK\x01\x02") + 8] &= 254
    content[content.rfind(b"PK\x01\x02") + 10] = 77  # an unknown compression method
    Path("a.npz").write_bytes(content)
    assert main(["stats", "a.npz:second"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("moment", ["listed", "read"])
@pytest.mark.parametrize("suffix", ["h5", "zarr"])
def test_a_crash_of_a_reader_costs_one_file(moment, suffix, field, capsys, monkeypatch):
    name, library = f"a.{suffix}", {"h5": "h5py", "zarr": "zarr"}[suffix]
    with h5py.File("a.h5", "w") as file:
        file["x"] = field
    zarr.open_group("a.zarr", mode="w").create_array("x", data=field)
    np.save("good.npy", field)
    both = list(containers.LIBRARIES[library])

    def crash(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    both[moment == "read"] = crash
    monkeypatch.setitem(containers.LIBRARIES, library, tuple(both))
    assert main(["stats", name, "good.npy", "--json"]) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"sharedmem stats: {name}.*: the process .* crashed \(SIGKILL\).*\n", err)
    assert [found["name"] for found in json.loads(out)["arrays"]] == ["good.npy"]
    cleanup_resources()
