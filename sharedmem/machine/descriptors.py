"""The limit on file descriptors, which is raised when none is left."""

from __future__ import annotations

import contextlib
import errno
import resource
from collections.abc import Callable
from typing import TypeVar

_Made = TypeVar("_Made")

closed_at_lack: list[Callable[[], bool]] = []
"""Functions that close descriptors which are only kept for later, where none is left; they return
whether there were any."""


def with_descriptors(make: Callable[[], _Made]) -> _Made:
    """Return what `make` opens; call :func:`more_descriptors` if none is left.

    The limit is not raised before: child processes inherit it, and `select` takes no descriptor
    >= 1024.

    Raises
    ------
    OSError
        If `make` fails; the message names the limit on descriptors if that is the reason.
    """
    while True:
        try:
            return make()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            if not more_descriptors():
                raise OSError(error.errno, lack_of_descriptors()) from None


def lack_of_descriptors() -> str:
    """Return the message of the error that no descriptor is left."""
    return (
        f"this process has reached its limit of {descriptor_limit()} open descriptors (`ulimit "
        "-n`): raise the limit, close files, delete shared arrays (each takes one descriptor), or "
        "start fewer workers (each takes a few)"
    )


def descriptor_limit() -> int:
    """Return the soft limit on descriptors of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def more_descriptors() -> bool:
    """Close descriptors that are only kept for later, or else raise the soft limit on them.

    Return whether there are more now.
    """
    for close in closed_at_lack:
        if close():
            return True
    return raise_descriptor_limit()


def raise_descriptor_limit() -> bool:
    """Raise the soft limit on descriptors to the hard limit; return whether that is more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return True
    return False


def keep_room(descriptor: int, n_more: int) -> None:
    """Raise the soft limit if there may be no room for `n_more` descriptors after this one."""
    if descriptor + n_more >= descriptor_limit():
        raise_descriptor_limit()
