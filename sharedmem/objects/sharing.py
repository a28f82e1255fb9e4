"""Copies of objects whose arrays and buffers lie in one piece of shared memory: share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from sharedmem.machine.progress_bar import check_progress
from sharedmem.objects.assembly import Assembler, copy_parts, new_block, placed
from sharedmem.objects.groups import GroupDismantler, assembled

T = TypeVar("T")


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

    What is written to an array in one process is seen in all of them.

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
    block = new_block(dismantler.nbytes)
    arrays = [placed(block, place, dismantler.dtypes) for place in dismantler.places]
    display = make_display() if make_display else None
    try:
        copy_parts(arrays, dismantler.parts, display)
    finally:
        if display is not None:
            display.close()
    for array in arrays if readonly else map(arrays.__getitem__, dismantler.frozen):
        array.flags.writeable = False
    groups = [assembled(group, block, arrays) for group in dismantler.groups]
    return cast(T, Assembler(stream, [*arrays, *reversed(groups)].__getitem__).load())
