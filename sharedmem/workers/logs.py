"""Records of `logging` that are made in workers, and handled in the coordinator."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sharedmem.workers.batches import ATOMIC_TYPES

if TYPE_CHECKING:
    from logging import LogRecord

_PLAIN_TYPES = ATOMIC_TYPES | {str, bytes}
# A forked worker has inherited this module, and the filters of loggers.
_importer = os.getpid()
# The handlers that a worker has inherited, and does not use: nothing of them is closed.
_unused: list[Any] = []

# The process that sends its records.
_sender_pid = 0

Levels: TypeAlias = tuple[int, Mapping[str, int], bool]
"""The level that `logging.disable` has set, the levels of loggers by name, and whether the root has
handlers."""


class _Other(NamedTuple):
    """An attribute of a record that is pickled, and its text for a process that cannot load it."""

    stream: bytes
    text: str


class Record(NamedTuple):
    """A record, as it is sent.

    Attributes
    ----------
    fields : dict
        Its attributes.
    is_filtered : bool
        Whether the filters of its logger were applied in the worker.
    """

    fields: dict[str, Any]
    is_filtered: bool

    def hear(self) -> None:
        """Give the record to the handlers of its logger."""
        import logging

        record = logging.makeLogRecord({name: _opened(v) for name, v in self.fields.items()})
        logger = logging.getLogger(record.name)
        if not self.is_filtered:
            logger.handle(record)
        elif not logger.disabled:
            logger.callHandlers(record)


def _opened(value: object) -> object:
    if type(value) is not _Other:
        return value
    try:
        return pickle.loads(value.stream)
    except Exception:
        return value.text


def levels() -> Levels | None:
    """Return the levels of this process; None if it has not imported `logging`."""
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return None
    manager = logging.root.manager
    loggers = {"root": logging.root, **manager.loggerDict}
    chosen = {name: getattr(logger, "level", 0) for name, logger in loggers.items()}
    by_name = {name: level for name, level in chosen.items() if level}
    return manager.disable, by_name, bool(logging.root.handlers)


def set_levels(chosen: Levels) -> None:
    """Set the levels of all loggers to those of another process."""
    import logging

    disabled, by_name, has_root_handler = chosen
    logging.disable(disabled)
    before = levels()
    for name in {"root", *by_name, *(before[1] if before else ())}:
        logging.getLogger(name).setLevel(by_name.get(name, logging.NOTSET))
    if has_root_handler and not logging.root.handlers:
        # For `send_records`: `logging.info` would add a handler to a root that has none.
        logging.root.addHandler(logging.NullHandler())


def send_records(send: Callable[[Record], None], rank: int) -> None:
    """Send the records of this process instead of handling them.

    Handlers that are added later are used as well; those that are here now belong to the
    coordinator. `logging` is not imported for that: a program that has not imported it before it
    starts workers has no handlers of its own. Another call does nothing.
    """
    global _sender_pid
    logging: Any = sys.modules.get("logging")
    if logging is None or _sender_pid == os.getpid():
        return
    _sender_pid = os.getpid()
    sender = logging.Handler()
    # Without its lock, and so without waiting: what it sends is one message, from any thread.
    sender.handle = partial(_send, send, rank, sender)
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if getattr(logger, "handlers", None):
            _unused.extend(logger.handlers)
            # If the root has no handler, `basicConfig` adds one, as in the coordinator.
            logger.handlers = [sender] if logger is logging.root else []
    # For loggers that find no handler.
    logging.lastResort = sender


def _send(send: Callable[[Record], None], rank: int, sender: Any, record: LogRecord) -> None:
    try:
        send(Record(_fields(record, rank, sender), is_filtered=os.getpid() != _importer))
    except (BrokenPipeError, ConnectionResetError):
        pass  # The coordinator has ended the call.
    except Exception:
        sender.handleError(record)


def _fields(record: LogRecord, rank: int, sender: Any) -> dict[str, Any]:
    text = record.getMessage()
    fields = {**vars(record)}
    args: Any = record.args
    values = args.values() if isinstance(args, dict) else args or ()
    if type(record.msg) is not str or not _PLAIN_TYPES.issuperset(map(type, values)):
        fields.update(msg=text, args=None)
    if record.exc_info:
        # Formatters use the text; the traceback refers to frames.
        text = record.exc_text or _format_exception(record.exc_info)
        fields.update(exc_info=None, exc_text=text)
    if record.process == os.getpid():  # and not a record of a worker of this worker
        fields.update(processName=f"worker {rank}")
    fields.setdefault("rank", rank)
    return {
        name: value if name == "args" or type(value) in _PLAIN_TYPES else _packed(value)
        for name, value in fields.items()
    }


def _format_exception(exc_info: Any) -> str:
    import logging

    return logging.Formatter().formatException(exc_info)


def _packed(value: object) -> object:
    text = type(value).__name__
    with contextlib.suppress(Exception):
        text = repr(value)
    with contextlib.suppress(Exception):
        return _Other(pickle.dumps(value), text)
    return text
