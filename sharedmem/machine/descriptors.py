"""The limit on file descriptors, which is raised when none is left."""

from __future__ import annotations

import contextlib
import errno
import resource
from collections.abc import Callable
from typing import TypeVar

_Made = TypeVar("_Made")


def with_descriptors(make: Callable[[], _Made]) -> _Made:
    """Return what `make` opens; the soft limit on descriptors is raised when none is left.

    Not before: other programs that this one starts inherit the limit, and `select` takes no
    descriptor over 1,023.

    Raises
    ------
    OSError
        If it fails; the limits on descriptors are named.
    """
    try:
        return make()
    except OSError as error:
        if error.errno != errno.EMFILE or not raise_descriptor_limit():
            raise _named(error) from None
    try:
        return make()
    except OSError as error:
        raise _named(error) from None


def _named(error: OSError) -> OSError:
    if error.errno == errno.EMFILE:
        return OSError(error.errno, lack_of_descriptors())
    return error


def lack_of_descriptors() -> str:
    """Return the text of an error: that there is none left, the limit, and the ways out."""
    return (
        f"this process has as many descriptors open as it may, {descriptor_limit()} (`ulimit -n`): "
        "raise that limit, close files, drop shared arrays, each of which takes one, or start "
        "fewer workers, each of which takes a few"
    )


def descriptor_limit() -> int:
    """Return how many descriptors this process may have now."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_descriptor_limit() -> bool:
    """Raise the soft limit on descriptors to the hard one; return whether that is more."""
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
