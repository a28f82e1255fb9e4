"""The command line: `sharedmem stats`, `sharedmem info`, and `sharedmem warm`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

import sharedmem
from sharedmem.cli.inputs import Skipped, StoredArray, in_isolation, open_arrays, text_of
from sharedmem.cli.options import UsageError, check, check_warm, parser

MAX_PANELS = 50


class OutputError(Exception):
    """Raised when standard output cannot be written to."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The arguments, by default those of the process.

    Returns
    -------
    int
        The exit status: 0 on success; 1 if the output cannot be written, or the system fails; 2 if
        an option or a file is invalid, where ``stats`` still describes all other arrays; 130 after
        Ctrl-C.
    """
    options = parser().parse_args(arguments)
    try:
        if sys.stdout is None or sys.stdout.closed:
            raise UsageError("standard output is closed")
        commands = {"info": _print_info, "stats": _print_stats, "warm": _warm}
        return commands[options.command](options)
    except (UsageError, ImportError) as error:
        return _fail(options, str(error), 2)
    except OutputError as error:
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())  # the flush at exit must not raise again
        # A reader that has stopped reading needs no message.
        return 1 if isinstance(error.__cause__, BrokenPipeError) else _fail(options, str(error), 1)
    except (sharedmem.WorkerException, OSError, MemoryError) as error:
        return _fail(options, str(error), 1)
    except KeyboardInterrupt:
        return 130


def _fail(options: Namespace, message: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):  # standard error is closed
        _write(f"sharedmem {options.command}: {message}", sys.stderr)
    return code


def _print(text: str) -> None:
    try:
        _write(text, sys.stdout)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write to standard output: {text_of(error)}") from error


def _write(text: str, stream: TextIO | None) -> None:
    """Write a line, with escapes for characters that the stream cannot encode."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    if stream is not None:
        encoded = text.encode(encoding, "backslashreplace")
        print(encoded.decode(encoding), file=stream, flush=True)


def _print_info(_: Namespace) -> int:
    from sharedmem.cli.info import describe_machine

    _print("\n".join(f"{name:<14} {value}" for name, value in describe_machine().items()))
    return 0


def _print_stats(options: Namespace) -> int:
    check(options)
    from sharedmem.cli import report

    if options.expr is None:
        parts: Sequence[StoredArray | Skipped] = open_arrays(options)
    else:
        from sharedmem.cli.expressions import open_expressions

        parts = open_expressions(options)
    if options.plot is not None and len(parts) > MAX_PANELS:
        raise UsageError(f"--plot draws at most {MAX_PANELS} arrays, got {len(parts)}")
    described, skipped = [], []
    with _pool(options) as pool:
        for part in parts:
            found = part if isinstance(part, Skipped) else _describe(pool, part, options)
            if isinstance(found, Skipped):
                skipped.append(found)
                _fail(options, f"{found.name}: {found.reason}", 2)
                continue
            described.append(found)
            if not options.json:
                _print(report.as_text(found))
    if described:
        show = report.as_json(described, skipped) if options.json else report.throughput(described)
        _print(show)
        if options.plot is not None:
            report.save_picture(described, options.plot)
    return 2 if not described or any(part.is_fault for part in skipped) else 0


def _describe(pool: sharedmem.MapReduce, array: StoredArray, options: Namespace) -> Any:
    """Return the `Statistics` of an array, or `Skipped`."""
    from sharedmem.cli.statistics import Statistics, statistics

    try:
        if not array.is_fragile:
            return statistics(pool, array, options)
        one = np.zeros((1,) * len(array.shape), array.dtype)
        first = array._replace(shape=one.shape, load=lambda: one)
        statistics(pool, first, options)  # compiles before the fork

        def numbers() -> Any:
            with pool:  # which the parent has entered, and this process has not
                return statistics(pool, array, options)[1:]  # but for the array

        return Statistics(array, *in_isolation(numbers))
    except Exception as error:  # a damaged file may raise anything
        return Skipped(array.name, text_of(error), is_fault=True)


def _warm(options: Namespace) -> int:
    from sharedmem.cli import warming
    from sharedmem.kernels import machine_code

    functions = warming.functions()
    check_warm(options, functions)
    folder = machine_code.writable_folder()
    if folder is None:
        raise UsageError("no folder for compiled code is writable: set NUMBA_CACHE_DIR to one")
    names = options.functions or functions
    tasks = [warming.Task(name, dtype) for name in names for dtype in options.dtype]
    before = set(folder.glob("*.code"))
    importlib.import_module("llvmlite.binding")  # once, before the fork
    with _local_pool(options) as pool:
        pool.map(warming.warm, tasks)
    n_new = len(set(folder.glob("*.code")) - before)
    _print(f"compiled {n_new} kernels, which are kept in {folder}")
    return 0


def _pool(options: Namespace) -> sharedmem.MapReduce:
    if options.dask is None:
        return _local_pool(options)
    return sharedmem.MapReduce(sharedmem.DaskBackend(options.dask))


def _local_pool(options: Namespace) -> sharedmem.MapReduce:
    # By default a pool in a worker is serial; the command line may run in one.
    n_workers = sharedmem.cpu_count() if options.workers is None else options.workers
    progress = sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
    return sharedmem.MapReduce(np=n_workers, progress=progress)
