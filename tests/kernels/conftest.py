"""Small chunks, so that small arrays have many chunks."""

import pytest


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=256, lines_per_chunk=4, shared_line_length=4)
