"""Warnings that are shown in workers, and reach the filters of the coordinator."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TextIO

# Of modules that the coordinator has not imported, and of code without a module.
_registries: dict[str, dict[Any, Any]] = {}
# The process that sends its warnings.
_sender_pid = 0


class Warned(NamedTuple):
    """A warning, as it is sent.

    Attributes
    ----------
    stream : bytes
        The warning, pickled; empty if that is not possible.
    text, base : str
        Its text, and the builtin category that it belongs to, for a process that cannot load it.
    filename, lineno, module
        The line that it is about.
    """

    stream: bytes
    text: str
    base: str
    filename: str
    lineno: int
    module: str | None

    def hear(self) -> None:
        """Issue the warning in this process, as if the line were run here."""
        message: Any = None
        with contextlib.suppress(Exception):
            message = pickle.loads(self.stream)
        if not isinstance(message, Warning):
            message = getattr(builtins, self.base)(self.text)
        module: Any = sys.modules.get(self.module or "")
        if module is None:
            registry = _registries.setdefault(self.module or self.filename, {})
        else:
            registry = vars(module).setdefault("__warningregistry__", {})
        warnings.warn_explicit(
            message, type(message), self.filename, self.lineno, self.module, registry
        )


def send_warnings(send: Callable[[Warned], None]) -> None:
    """Send what this process would show as warnings; what it catches is not shown.

    Another call does nothing.
    """
    global _sender_pid
    if _sender_pid != os.getpid():
        _sender_pid = os.getpid()
        warnings.showwarning = partial(_send, send, warnings.showwarning)


def _send(
    send: Callable[[Warned], None],
    show: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None:
        show(message, category, filename, lineno, file, line)
        return
    stream = b""
    with contextlib.suppress(Exception):
        stream = pickle.dumps(message)
    base = next(kind for kind in category.__mro__ if vars(builtins).get(kind.__name__) is kind)
    module = _module_at(filename, lineno)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # The call has been ended.
        send(Warned(stream, str(message), base.__name__, filename, lineno, module))


def _module_at(filename: str, lineno: int) -> str | None:
    """Return the module of the caller that runs a line; None if the line is not run."""
    module: str | None = None
    frame = inspect.currentframe()
    while frame is not None and module is None:
        if frame.f_code is Warned.hear.__code__:  # in a worker that has workers
            module = frame.f_locals["self"].module
        elif frame.f_lineno == lineno and frame.f_code.co_filename == filename:
            module = frame.f_globals.get("__name__")
        frame = frame.f_back
    return module
