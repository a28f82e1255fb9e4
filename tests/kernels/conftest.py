"""Small chunks, so that small arrays have many of them."""

import pytest

from sharedmem import lines


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(lines, "DEFAULT_CHUNK_BYTES", 256)
    monkeypatch.setattr(lines, "MIN_LINES", 4)
