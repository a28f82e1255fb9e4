"""Small chunks, so that small arrays have many of them."""

import pytest

from sharedmem import lines, reducing


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(lines, "bytes_a_chunk", lambda _: 256)
    monkeypatch.setattr(lines, "MIN_LINES", 4)
    monkeypatch.setattr(reducing, "LONG_LINE", 4)
