"""Arrays are read from iterables and files as NumPy reads them."""

import bz2
import gzip
import io
import lzma
import os
import tempfile

import numpy as np
import pytest

import sharedmem

LARGE = 2_200_001  # elements: several pieces, the last of them shorter


def test_fromiter():
    assert sharedmem.fromiter(range(5), "i8").tolist() == [0, 1, 2, 3, 4]
    assert sharedmem.fromiter(range(5), "i8", count=2).tolist() == [0, 1]
    with pytest.raises(ValueError, match="iterator too short"):
        sharedmem.fromiter(range(5), "i8", count=6)


@pytest.mark.parametrize("n", [0, 1, LARGE])
def test_fromfile(tmp_path, n):
    path = tmp_path / "array"
    a = np.arange(n, dtype="f8")
    a.tofile(path)
    for count, offset in ((-1, 0), (n, 0), (n + 5, 0), (n // 2, 0), (-1, 8 * min(n, 3)), (-1, 4)):
        made = sharedmem.fromfile(path, "f8", count, offset=offset)
        np.testing.assert_array_equal(made, np.fromfile(path, "f8", count, offset=offset))
    with open(path, "rb") as file:
        np.testing.assert_array_equal(sharedmem.fromfile(file, "f4", n), a.view("f4")[:n])
        np.testing.assert_array_equal(sharedmem.fromfile(file, "f4", offset=0), a.view("f4")[n:])
        assert file.read() == b""


def test_fromfile_of_text(tmp_path):
    path = tmp_path / "text"
    path.write_text("1, 2, 3")
    assert sharedmem.fromfile(path, "i4", sep=",").tolist() == [1, 2, 3]
    with pytest.raises(TypeError, match="offset"):
        sharedmem.fromfile(path, "i4", sep=",", offset=1)


def test_fromfile_of_missing_and_other_files_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        sharedmem.fromfile(tmp_path / "missing")
    with pytest.raises(io.UnsupportedOperation):
        sharedmem.fromfile(io.BytesIO(b"12345678"))
    with open(__file__, "rb") as file, pytest.raises(ValueError, match="before the beginning"):
        sharedmem.fromfile(file, offset=-1)


@pytest.mark.parametrize("count", [-1, 0, 5, 50])
@pytest.mark.parametrize("offset", [0, 8, 24, 80, 88, 1000])
def test_fromfile_with_count_and_offset(tmp_path, count, offset):
    path = tmp_path / "ten"
    np.arange(10.0).tofile(path)
    for name in (path, os.fsencode(path)):
        try:
            expected = np.fromfile(name, "f8", count, offset=offset)
        except ValueError:
            with pytest.raises(ValueError, match=f"offset={offset} points .* past the end"):
                sharedmem.fromfile(name, "f8", count, offset=offset)
        else:
            made = sharedmem.fromfile(name, "f8", count, offset=offset)
            np.testing.assert_array_equal(made, expected)
    with (
        open(path, encoding="latin-1") as text,
        open(path, "rb", buffering=0) as raw,
        tempfile.NamedTemporaryFile() as temporary,
    ):
        assert [sharedmem.fromfile(file).size for file in (text, raw, temporary)] == [10, 10, 0]


def test_fromfile_of_pipes_and_devices():
    for count, offset, expected in [(-1, 0, 6), (3, 0, 3), (2, 8, 2), (9, 0, 6)]:
        for buffering in (-1, 0):
            ours, theirs = os.pipe()
            with os.fdopen(ours, "rb", buffering) as file:
                os.write(theirs, np.arange(6.0).tobytes() + b"rest")
                os.close(theirs)
                made = sharedmem.fromfile(file, "f8", count, offset=offset)
                np.testing.assert_array_equal(made, np.arange(expected) + offset // 8)
    assert sharedmem.fromfile("/dev/zero", "f8", 5).tolist() == [0] * 5
    assert sharedmem.fromfile("/dev/null", "f8").size == 0
    assert sharedmem.fromfile("/proc/self/status", "u1").tobytes().startswith(b"Name:")
    with pytest.raises(ValueError, match="a device may not have: pass count="):
        sharedmem.fromfile("/dev/zero", "f8")


@pytest.mark.parametrize("dtype", ["S", "V0", "U", [("a", "f8", (0,))]])
def test_fromfile_of_dtypes_without_size(tmp_path, dtype):
    (tmp_path / "file").write_bytes(b"12345678")
    assert sharedmem.fromfile(tmp_path / "file", dtype, 3).shape == (3,)
    with pytest.raises(ValueError, match="have no size: give count="):
        sharedmem.fromfile(tmp_path / "file", dtype)


def test_fromfile_of_compressed_files_raises(tmp_path):
    for module in (gzip, bz2, lzma):
        with module.open(tmp_path / "packed", "wb") as file:
            file.write(bytes(800))
        with (
            module.open(tmp_path / "packed") as file,
            pytest.raises(TypeError, match=r"np\.frombuffer\(file\.read\(\), dtype\)"),
        ):
            sharedmem.fromfile(file, "f8")
    with pytest.raises(TypeError, match="a file object of open"):
        sharedmem.fromfile(3)
    with open(tmp_path / "new", "wb") as file, pytest.raises(io.UnsupportedOperation):
        sharedmem.fromfile(file)
