"""Tracebacks that are sent to another process, and shown there as if they were its own."""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Sequence
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, NamedTuple, TypeAlias

from sharedmem.errors import WorkerException

_Position: TypeAlias = tuple[int, int, int | None, int | None]


class Call(NamedTuple):
    """One line of a traceback.

    Attributes
    ----------
    filename, function, module : str
        Where the code is.
    position : tuple
        The first and the last line of the expression, and its columns if they are known.
    """

    filename: str
    function: str
    module: str
    position: _Position


Stack: TypeAlias = Sequence[Call]
"""The lines of a traceback, in plain data; the outermost call comes first."""


def is_ours(frame: FrameType) -> bool:
    """Return whether a frame runs code of this package."""
    package: str = frame.f_globals.get("__package__") or ""
    return package.partition(".")[0] == "sharedmem"


def of_user(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins with the user's code; all if there is none."""
    inner = trace
    while inner is not None and is_ours(inner.tb_frame):
        inner = inner.tb_next
    return inner or trace


class _OurCallsHidden:
    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, WorkerException):
            return
        last = trace = error.__traceback__
        while trace is not None:
            if not is_ours(trace.tb_frame):
                last = trace
            trace = trace.tb_next
        if last is not None:
            last.tb_next = None


our_calls_hidden = _OurCallsHidden()
"""A context that removes the calls of this package from the end of a WorkerException's traceback.

They have raised it, and tell nothing of its reason. The frame that enters the context remains.
"""


def stack_of(trace: TracebackType | None) -> Stack:
    """Return the lines of a traceback."""
    calls: list[Call] = []
    while trace is not None:
        frame, line = trace.tb_frame, max(trace.tb_lineno or 0, 1)
        code, module = frame.f_code, frame.f_globals.get("__name__")
        positions: Any = itertools.islice(code.co_positions(), trace.tb_lasti // 2, None)
        position = next(positions, None) if trace.tb_lasti >= 0 else None
        if position is None or None in position or position[0] != line:
            position = line, line, None, None
        calls.append(Call(code.co_filename, code.co_name, str(module), position))
        trace = trace.tb_next
    return calls


def traceback_of(stack: Stack) -> TracebackType | None:
    """Return a traceback with the lines of a stack, for programs that show tracebacks.

    Its frames have no variables, and refer to no other frames: they keep nothing alive.
    """
    trace = None
    for call in reversed(stack):
        code = _code_at(call.filename, call.function, call.position)
        positions = list(code.co_positions())
        place = {"__name__": call.module, "__file__": call.filename}
        # A generator that has not begun has a frame, and nothing has called it.
        frame = FunctionType(code, place)().gi_frame
        instruction = positions.index(call.position) if call.position in positions else 0
        trace = TracebackType(trace, frame, 2 * instruction, call.position[0])
    return trace


@functools.lru_cache(256)
def _code_at(filename: str, function: str, position: _Position) -> CodeType:
    """Return the code of a generator with an instruction at the position."""
    line, last_line, column, end_column = position
    place: dict[str, Any] = {"lineno": line, "end_lineno": last_line}
    place |= {"col_offset": column or 0, "end_col_offset": end_column or 0}
    nothing = ast.arguments([], [], None, [], [], None, [])
    tree = ast.Expression(ast.Lambda(nothing, ast.Yield(None, **place), **place))
    code: CodeType = compile(tree, "", "eval").co_consts[0]
    return code.replace(
        co_filename=filename, co_name=function, co_qualname=function, co_firstlineno=line
    )
