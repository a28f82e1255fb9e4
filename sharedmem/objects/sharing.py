"""Copies of objects whose arrays and buffers lie in one piece of shared memory: share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np

from sharedmem.arrays.shared_array import SharedArray, is_shared_array
from sharedmem.machine.progress_bar import check_progress
from sharedmem.machine.signals import suppressed
from sharedmem.objects.assembly import Assembler, copied
from sharedmem.objects.dismantling import Dismantler
from sharedmem.objects.groups import ArrayDict, ArrayList, GroupDismantler, assembled
from sharedmem.objects.shared_list import SharedList
from sharedmem.objects.travel import check_travels

T = TypeVar("T")
_TRAVELING = frozenset({SharedArray, ArrayList, ArrayDict, SharedList})


def share(
    obj: T,
    *,
    readonly: bool = False,
    progress: bool | str | Callable[[int, int | None], object] = False,
) -> T:
    """Return a copy of an object whose arrays and buffers lie in one piece of shared memory.

    Parameters
    ----------
    obj : object
        Anything that can be pickled: an array, a sparse matrix of SciPy, a frame of pandas or
        polars, a table of Arrow, an object of xarray, or lists, tuples, dicts, and objects of
        these.
    readonly : bool, optional
        Whether the arrays of the copy refuse to be written to.
    progress : bool, str, or callable, optional
        Show a bar, with this label; or call a function with the numbers of bytes that are copied,
        and of all bytes.

    Returns
    -------
    object
        The copy, of the same type. Its arrays are SharedArrays. A list or a dict of many arrays is
        of a subclass, which is pickled by one reference.

    Raises
    ------
    TypeError, pickle.PicklingError
        If a part of the object cannot be pickled, or its memory cannot be shared.
    MemoryError
        If less memory is available than the arrays and buffers take.

    See Also
    --------
    copy : Copy one array.
    SharedList : Share a sequence of which workers load items one by one.
    is_shared : Test whether an object is shared.

    Notes
    -----
    The copy is made as pickle would make it. Worker processes, forked or spawned, and other
    processes of the same user get it by reference, as they do a :class:`SharedArray`: a pickle of
    it contains the place of the memory, and not its contents. Strings, bytes, arrays of Python
    objects, and numbers are not in shared memory; they are pickled by value.

    What is written to an array in one process is seen in all of them. What replaces an array by
    another one is seen in this process only: a new element of a sparse matrix, a new column of a
    DataFrame, and what pandas copies on write, since another object of the process refers to the
    same columns. Tables of Arrow and frames of polars are read-only.

    Examples
    --------
    >>> import numpy as np, pickle, sharedmem
    >>> model = sharedmem.share({"weights": np.ones((1000, 1000)), "names": ["a", "b"]})
    >>> type(model["weights"]).__name__, len(pickle.dumps(model)) < 1000
    ('SharedArray', True)
    """
    make_display = check_progress(progress)
    dismantler = GroupDismantler(readonly)
    stream = dismantler.stream_of(obj)
    display = make_display() if make_display else None
    try:
        block, arrays = copied(dismantler, readonly, display)
    finally:
        if display is not None:
            display.close()
    groups = [assembled(group, block, arrays) for group in dismantler.groups]
    made = Assembler(stream, [*arrays, *reversed(groups)].__getitem__).load()
    if type(made) not in _TRAVELING:
        check_travels(made, len(stream), len(arrays))
    return cast(T, made)


def is_shared(x: object) -> bool:
    """Return whether other processes see writes to an array, or to all arrays of an object.

    Parameters
    ----------
    x : object
        Any object.

    Returns
    -------
    bool
        True for a :class:`SharedArray` and its views, a :class:`numpy.memmap` of mode ``'r+'`` or
        ``'w+'``, and, on Linux, any other array in a writable shared mapping. False for arrays in
        private memory, and a memmap of mode ``'r'`` or ``'c'``. Another object is shared if it has
        arrays or buffers, and all of them are: what :func:`share` returns is.

    See Also
    --------
    copy : Copy an array to shared memory.
    share : Copy an object with its arrays.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> a = sharedmem.zeros(3)
    >>> sharedmem.is_shared(a), sharedmem.is_shared(np.asarray(a)), sharedmem.is_shared(a + 1)
    (True, True, False)
    >>> sharedmem.is_shared([a, a + 1]), sharedmem.is_shared([a, "text"])
    (False, True)
    """
    if isinstance(x, SharedList):
        return True
    if isinstance(x, np.ndarray):
        return is_shared_array(x)
    dismantler = Dismantler()
    with suppressed(Exception):  # what cannot be pickled is not shared
        dismantler.stream_of(x)
        return bool(dismantler.parts) and all(map(is_shared_array, dismantler.parts))
    return False
