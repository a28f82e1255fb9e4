"""Progress bar of the tasks of a call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


def no_bar(_: int) -> AbstractContextManager[Callable[[int], object]]:
    """Show nothing."""
    return _nothing


_nothing = nullcontext[Callable[[int], object]](lambda _: None)


@contextmanager
def shown_bar(n_tasks: int) -> Iterator[Callable[[int], object]]:
    """Show a bar in this block, which gets a function of the number of tasks just done."""
    if sys.stderr is None or sys.stderr.closed:
        yield lambda _: None
        return
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # No thread, which would be there at each fork.

    with Bar(total=n_tasks) as bar:
        yield bar.update
