"""Limits on the threads of BLAS, and the private variables of OpenBLAS behind them."""

import ctypes

import numpy as np
import pytest

from sharedmem.machine import blas

NAMES = ("blas_cpu_number", "blas_num_threads")


def openblas_libraries():
    np.dot(np.ones((2, 2)), np.ones((2, 2)))
    return [
        library
        for library in blas.libraries()
        if library.internal_api == "openblas" and library.threading_layer == "pthreads"
    ]


def test_the_variables_of_openblas_are_its_numbers_of_threads():
    found = 0
    for library in openblas_libraries():
        try:
            used, most = (ctypes.c_int.in_dll(library.dynlib, name) for name in NAMES)
        except ValueError:  # this build hides them
            continue
        found += 1
        assert used.value == library.get_num_threads(), "blas_cpu_number has another meaning"
        assert most.value >= used.value, "blas_num_threads has another meaning"
    if not found:
        pytest.skip("no OpenBLAS with visible variables")


def test_a_limit_sets_and_restores_the_number_of_threads():
    before = [library.get_num_threads() for library in blas.libraries()]
    with blas.limited(1):
        assert {library.get_num_threads() for library in blas.libraries()} <= {1}
    assert [library.get_num_threads() for library in blas.libraries()] == before
