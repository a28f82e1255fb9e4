"""Small chunks, so that small arrays have many of them."""

import pytest

from sharedmem.engine import line_view, reduce


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(line_view, "bytes_a_chunk", lambda _: 256)
    monkeypatch.setattr(line_view, "MIN_LINES", 4)
    monkeypatch.setattr(reduce, "LONG_LINE", 4)
