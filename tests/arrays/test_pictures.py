"""Pictures of arrays and grids for notebooks: well formed, and made without reading the array."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

import sharedmem
from sharedmem.machine.proc import resident_between

SHAPES = [(), (10,), (0, 5), (4000, 300), (20, 30, 40), (2, 3, 4, 5), (2, 3, 4, 5, 6), (0,)]


def drawn(shown):
    html = shown._repr_html_()
    ElementTree.fromstring(f"<div>{html}</div>")
    assert "<script" not in html
    return html


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_shape_are_drawn(shape, order):
    a = sharedmem.SharedArray(shape, "f4", order)
    html = drawn(a)
    assert str(shape) in html
    assert "float32" in html
    assert all(f">{length}</text>" in html for length in shape)


def test_strides_views_and_names_are_shown():
    a = sharedmem.zeros((100, 100), dtype=[("a<b", "f8")])
    assert "a&lt;b" in drawn(a)
    html = drawn(a[::2, ::3])
    assert "strides of (1600, 24) bytes" in html
    assert "view of" in html


def test_no_memory_is_allocated_for_a_picture():
    a = sharedmem.empty(10_000_000)
    before = resident_between(a.ctypes.data, a.ctypes.data + a.nbytes)
    assert "20 along axis 0" in drawn(a)
    assert resident_between(a.ctypes.data, a.ctypes.data + a.nbytes) == before


def test_values_of_a_small_array_are_shown_if_they_are_in_memory():
    assert "[1 2 3]" in drawn(sharedmem.array([1, 2, 3]))
    assert "<pre>" not in drawn(sharedmem.ones(5000))


def test_grids_show_what_they_cut():
    html = drawn(sharedmem.chunks((1000, 2000), (0, 1), n=(4, 6), overlap=2)[3:])
    assert "21 of 24" in html
    assert "(250, 334)" in html
    assert "(2, 2)" in html
    many = drawn(sharedmem.chunks(10**9, size=1))
    assert len(many) < 4000
    drawn(sharedmem.chunks((0, 3)))
    drawn(sharedmem.chunks((), ()))
    drawn(sharedmem.chunks(np.zeros((3, 4, 5)), (2, 0), n=2))


def test_memory_that_a_worker_has_touched_is_mapped_by_others():
    a = sharedmem.ones(10_240)
    with sharedmem.MapReduce(np=1) as pool:
        (html,) = pool.map(lambda _: a.sum() and a._repr_html_(), range(1))
    assert "mapped by other processes</td><td>81.92 kB" in html
