"""The debug switch: with it, pools run their tasks serially."""

from __future__ import annotations

_debug = False


def set_debug(flag: bool) -> None:
    """Switch debug mode on or off.

    In debug mode each pool runs its tasks serially in the calling process and raises their
    exceptions unchanged, so that a debugger such as :mod:`pdb` can stop at them.

    Parameters
    ----------
    flag : bool
        True for serial tasks, False (the default state) for parallel ones.

    See Also
    --------
    get_debug : Return whether debug mode is on.

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
    """Return whether debug mode is on.

    Returns
    -------
    bool
        True if pools run their tasks serially, False by default.

    See Also
    --------
    set_debug : Switch debug mode on or off.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.get_debug()
    False
    """
    return _debug
