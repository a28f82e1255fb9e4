"""What the coordinator wants to hear of workers that stay: filters of warnings, and levels."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from typing import Any, NamedTuple

from sharedmem.workers.logs import Levels, levels, set_levels


class Attention(NamedTuple):
    """What a process wants to hear.

    Attributes
    ----------
    filters : list of tuple
        Its filters of warnings, those that can be pickled.
    levels : tuple or None
        The levels of its loggers; None if it has not imported `logging`.
    """

    filters: list[Any]
    levels: Levels | None


# The last one, as it was and pickled, here in the coordinator; and the one that a worker heeds.
_last: tuple[Attention, bytes] = Attention([], None), b""
_heeded = b""


def attention() -> bytes:
    """Return what this process wants to hear, pickled."""
    global _last
    # A module may have put another list in the place of that of `warnings`.
    now = Attention([*warnings.filters], levels())
    known, stream = _last
    if now != known or not stream:
        stream = _pickled(now)
        _last = now, stream
    return stream


def _pickled(wanted: Attention) -> bytes:
    with contextlib.suppress(Exception):
        return pickle.dumps(wanted)
    filters: list[Any] = []
    for entry in wanted.filters:
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(entry))
            filters.append(entry)
    return pickle.dumps(Attention(filters, wanted.levels))


def heed(stream: bytes) -> None:
    """Adopt what the caller of a call wants to hear, and show each warning of it anew.

    What an initializer has configured holds until the caller changes something.
    """
    global _heeded
    if stream != _heeded:
        wanted: Attention = pickle.loads(stream)
        warnings.filters[:] = wanted.filters  # type: ignore[index]
        if wanted.levels is not None:
            set_levels(wanted.levels)
        _heeded = stream
    # To enter this context makes modules forget what they have shown.
    with warnings.catch_warnings():
        pass
