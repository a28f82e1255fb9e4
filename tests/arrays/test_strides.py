"""The address of an array's first element, read where NumPy's binary interface has it."""

import numpy as np
import pytest

import sharedmem
from sharedmem.kernels.loops.layout import address_of


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(6.0),
        lambda: np.arange(6)[::-2],
        lambda: np.zeros((2, 3), "f4", order="F").T[1:],
        lambda: np.zeros(()),
        lambda: np.zeros((0, 3)),
        lambda: np.zeros(4, "i4,f8")["f1"],
        lambda: sharedmem.zeros((3, 4))[1:, ::2],
        lambda: np.ma.masked_array([1, 2], [0, 1]),
    ],
)
def test_address(make):
    a = make()
    assert address_of(a) == a.__array_interface__["data"][0]
