"""The debug switch, with which pools run their tasks serially."""

from __future__ import annotations

_debug = False


def set_debug(flag: bool) -> None:
    """Switch debug mode on or off.

    In debug mode every pool runs its tasks serially in the coordinator, and exceptions reach
    the caller as they are, so that a debugger such as :mod:`pdb` sees them.

    Parameters
    ----------
    flag : bool
        True for debug mode, False for parallel work.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.set_debug(True)
    >>> sharedmem.get_debug()
    True
    >>> sharedmem.set_debug(False)
    """
    global _debug
    _debug = bool(flag)


def get_debug() -> bool:
    """Return whether debug mode is on; see :func:`set_debug`."""
    return _debug
