"""The file formats, and the members of files."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from zarr.core.sync import cleanup_resources

from sharedmem.cli.main import main
from tests.cli.helpers import assert_describes, describe


def test_fortran_order(field, capsys):
    np.save("field.npy", np.asfortranarray(field))
    (found,) = describe(capsys, "field.npy")
    assert_describes(found, field)


def test_members_of_npz(field, capsys):
    np.savez_compressed("fields.npz", first=field, second=np.arange(5))
    first, second = describe(capsys, "fields.npz")
    assert [first["name"], second["name"]] == ["fields.npz[first]", "fields.npz[second]"]
    assert_describes(first, field)
    assert_describes(second, np.arange(5))


def test_datasets_of_h5(field, capsys):
    with h5py.File("fields.h5", "w") as file:
        file["group/first"] = field
        file.create_dataset("second", data=np.arange(5), chunks=(2,))
    first, second = describe(capsys, "fields.h5")
    assert [first["name"], second["name"]] == ["fields.h5[group/first]", "fields.h5[second]"]
    assert_describes(first, field)
    assert_describes(second, np.arange(5))


def test_zarr(field, capsys):
    group = zarr.open_group("fields.zarr", mode="w")
    group.create_array("first", data=field, chunks=(7, 11))
    group.create_array("group/second", data=np.arange(5))
    zarr.create_array("field.zarr", data=field)
    alone, first, second = describe(capsys, "field.zarr", "fields.zarr")
    cleanup_resources()
    assert alone["name"] == "field.zarr"
    assert {first["name"], second["name"]} == {"fields.zarr[first]", "fields.zarr[group/second]"}
    assert_describes(alone, field)
    for found in (first, second):
        assert_describes(found, field if "first" in found["name"] else np.arange(5))


def test_raw(field, capsys):
    field.astype("f2").tofile("field.dat")
    (flat,) = describe(capsys, "field.dat", "--dtype", "f2")
    assert_describes(flat, field.astype("f2").ravel())
    (shaped,) = describe(capsys, "field.dat", "--dtype", "float16", "--shape", "30,40")
    assert_describes(shaped, field.astype("f2"))


@pytest.fixture
def mixed_files(field):
    with h5py.File("a.h5", "w") as file:
        file["x"] = field
        file["title"] = "a title"
        file["group/y"] = np.arange(3)
        file["group/z"] = np.ones(3, complex)
        file["nothing"] = h5py.Empty("f8")
        file["dangling"] = h5py.SoftLink("/nowhere")
    np.savez("a.npz", x=field, label=np.array(["a", "b"]), meta=np.array({}, object))
    group = zarr.open_group("a.zarr", mode="w")
    group.create_array("x", data=field)
    group.create_array("group/y", data=np.arange(3))
    group.create_array("label", data=np.ones(3, complex))
    np.save("good.npy", field)
    np.save("complex.npy", np.ones(3, complex))
    Path("GOOD.NPY").write_bytes(Path("good.npy").read_bytes())
    Path("a[1].npy").write_bytes(Path("good.npy").read_bytes())
    yield
    cleanup_resources()


@pytest.mark.usefixtures("mixed_files")
@pytest.mark.parametrize(
    ("files", "found", "skipped", "code"),
    [
        ("a.h5", "a.h5[group/y] a.h5[x]", "a.h5[group/z] a.h5[nothing] a.h5[title]", 0),
        ("a.npz", "a.npz[x]", "a.npz[label] a.npz[meta]", 0),
        ("a.zarr", "a.zarr[group/y] a.zarr[x]", "a.zarr[label]", 0),
        ("a.h5[x]", "a.h5[x]", "", 0),
        ("a.h5:/group/y", "a.h5[group/y]", "", 0),
        ("a.h5:group", "a.h5[group/y]", "a.h5[group/z]", 0),
        ("a.npz:x a.zarr:group", "a.npz[x] a.zarr[group/y]", "", 0),
        ("a.npz:label", "", "a.npz[label]", 2),
        ("good.npy complex.npy", "good.npy", "complex.npy", 2),
        ("a.h5:nix good.npy", "good.npy", "a.h5", 2),
        ("GOOD.NPY a[1].npy", "GOOD.NPY a[1].npy", "", 0),
        ("a.h5 --axis 1", "a.h5[x]", "a.h5[group/y] a.h5[group/z] a.h5[nothing] a.h5[title]", 2),
    ],
)
def test_arrays_that_are_not_numeric_are_skipped(files, found, skipped, code, capsys):
    assert main(["stats", "--json", *files.split()]) == code
    out, err = capsys.readouterr()
    seen = json.loads(out) if out else {"arrays": [], "left_out": []}
    assert sorted(array["name"] for array in seen["arrays"]) == found.split()
    named = sorted(line.split(": ")[1] for line in err.splitlines())
    assert named == skipped.split()
    assert not out or sorted(part["name"] for part in seen["left_out"]) == named
