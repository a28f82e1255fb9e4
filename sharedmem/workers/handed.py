"""Descriptors that a spawned worker inherits, noted while what uses them is pickled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class _Noted(threading.local):
    descriptors: set[int] | None = None


_noted = _Noted()


@contextlib.contextmanager
def descriptors_noted() -> Iterator[set[int]]:
    """Collect the descriptors of what this thread pickles in the block for a worker.

    The worker must be spawned with them, under the same numbers.
    """
    before, _noted.descriptors = _noted.descriptors, set()
    try:
        yield _noted.descriptors
    finally:
        _noted.descriptors = before


def handed(descriptor: int) -> int:
    """Return a descriptor as a spawned worker knows it.

    Raises
    ------
    TypeError
        If nothing is pickled for such a worker.
    """
    if _noted.descriptors is None:
        raise TypeError(
            f"descriptor {descriptor} cannot be pickled: only a worker that is started with it "
            "inherits it"
        )
    _noted.descriptors.add(descriptor)
    return descriptor
