"""Displays of progress: a bar on a terminal or in a notebook, or the user's function."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class Display(Protocol):
    """Shows how much of one call is done.

    Nothing is shown of a call without steps, and it is closed whether it has shown anything or not.
    """

    def show(self, done: int, total: int | None) -> None:
        """Show that `done` steps of `total` are done; None if their number is not known."""
        ...

    def close(self) -> None:
        """Show no more."""
        ...


def check_progress(progress: Any) -> Callable[[], Display] | None:
    """Return what makes the display of a call, or None if there is none."""
    if isinstance(progress, bool | np.bool):
        return Bars(None) if progress else None
    if isinstance(progress, str):
        return Bars(progress)
    if callable(progress):
        return Reports(progress)
    raise ValueError(
        "progress must be True or False, the label of a bar, or a function of (done, total), got "
        f"{progress!r}"
    )


class _Option:
    """The option of a pool: pools with equal options are equal, and can be pickled."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Bars(_Option):
    """Makes bars with a label."""

    def __call__(self) -> Display:
        """Return a bar."""
        return _Bar(self.value)


class Reports(_Option):
    """Makes displays that call a function."""

    def __call__(self) -> Display:
        """Return a display."""
        return _Report(self.value)


class _Report:
    def __init__(self, function: Callable[[int, int | None], object]) -> None:
        self._function = function
        self._done = 0

    def show(self, done: int, total: int | None) -> None:
        if done > self._done:
            self._done = done
            self._function(done, total)

    def close(self) -> None:
        pass


class _Bar:
    def __init__(self, label: str | None) -> None:
        # Loaded before the call begins to be timed.
        self._make = _bar_class("ipykernel" in sys.modules)
        self._label = label
        self._bar: Any = None

    def show(self, done: int, total: int | None) -> None:
        if self._bar is None:
            # Of a small array there is one step, and to show it takes longer than to do it.
            if done == total == 1 or sys.stderr is None or sys.stderr.closed:
                return
            self._bar = self._make(desc=self._label, total=total)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


@functools.cache
def _bar_class(in_notebook: bool) -> Any:
    # tqdm.auto warns in notebooks without ipywidgets, and imports asyncio everywhere.
    is_widget = in_notebook and importlib.util.find_spec("ipywidgets") is not None
    tqdm: Any = importlib.import_module("tqdm.auto" if is_widget else "tqdm").tqdm
    # No thread, which would be there at each fork.
    return type("Bar", (tqdm,), {"monitor_interval": 0})
