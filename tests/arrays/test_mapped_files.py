"""Tests of arrays in mapped files, which are found by path and identity."""

import os

import numpy as np
import pytest

from sharedmem.arrays.mapped_files import ArrayFile
from sharedmem.memory.syscalls import allocate_on_disk


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10.0))
    np.save(tmp_path / "b.npy", np.zeros(10))
    return tmp_path / "a.npy"


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_mapped_file_is_mapped_again(path, mode):
    array = np.load(path, mmap_mode=mode)[2:8:2]
    np.testing.assert_array_equal(ArrayFile.of(array).map(), array)
    (path.parent / "link.npy").symlink_to(path)
    linked = np.load(path.parent / "link.npy", mmap_mode=mode)
    np.testing.assert_array_equal(ArrayFile.of(linked).map(), linked)


def test_a_file_without_gaps_is_a_line(path):
    array = np.load(path, mmap_mode="r")
    for dense in (array, array[2:], array[4:].reshape(2, 3), array[4:].reshape(3, 1, 2).T):
        line = ArrayFile.of(dense).line(5)
        assert line.chunks == (5,)
        np.testing.assert_array_equal(line.map(), dense.ravel(order="K"))
    repeated = np.broadcast_to(array[:4:3], (2, 2))
    for other in (array[::2], array[::-1], array[4:].reshape(2, 3)[:, :2], repeated):
        assert ArrayFile.of(other).line(5) is None


def test_another_file_of_the_same_name_is_refused(path):
    array = np.load(path, mmap_mode="r")
    named = ArrayFile.of(array)
    (path.parent / "b.npy").replace(path)
    for call in (named.map, lambda: ArrayFile.of(array), lambda: ArrayFile.of(array[3:])):
        with pytest.raises(ValueError, match="has been replaced by another file"):
            call()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="does not see this file"):
        ArrayFile.of(array).map()


def test_reserving_disk_space_keeps_the_contents(path):
    with open(path, "rb+") as file:
        before = file.read()
        os.truncate(path, 1 << 20)
        allocate_on_disk(file.fileno(), 0, 1 << 20)
        file.seek(0)
        assert file.read() == before + bytes((1 << 20) - len(before))
    with open(path, "rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        allocate_on_disk(file.fileno(), 0, 1)
