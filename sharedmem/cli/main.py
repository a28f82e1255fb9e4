"""The command line: `sharedmem stats` and `sharedmem info`."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import numpy as np

import sharedmem

if TYPE_CHECKING:  # which would import numba
    from sharedmem.cli.inputs import Source

DEFAULT_BINS = 20
# More would take more memory than the arrays, and nobody could look at them.
MAX_BINS = 1_000_000
MAX_PANELS = 50


class UsageError(Exception):
    """What was asked for cannot be done; the message is all that the user needs to see."""


class OutputError(Exception):
    """What was found cannot be written to the standard output."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        What the process exits with: 0; 2 if something that was asked for cannot be done, where
        ``stats`` still describes all other arrays; 1 if the output cannot be written, or the
        machine fails; 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        if sys.stdout is None or sys.stdout.closed:
            raise UsageError("the standard output is closed")
        return int(options.run(options))
    except UsageError as error:
        return _fail(options, str(error), 2)
    except OutputError as error:
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())  # the flush at exit must not raise again
        # A reader that has seen enough needs no message.
        return 1 if isinstance(error.__cause__, BrokenPipeError) else _fail(options, str(error), 1)
    except (sharedmem.WorkerException, OSError, MemoryError) as error:
        return _fail(options, str(error), 1)
    except KeyboardInterrupt:
        return 130


def _fail(options: argparse.Namespace, message: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):  # a closed one
        _write(f"sharedmem {options.command}: {message}", sys.stderr)
    return code


def _print(text: str) -> None:
    try:
        _write(text, sys.stdout)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"the standard output cannot be written to: {reason}") from error


def _write(text: str, stream: TextIO | None) -> None:
    """Write a line, with escapes for what the stream cannot encode, such as names of files."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    if stream is not None:
        encoded = text.encode(encoding, "backslashreplace")
        print(encoded.decode(encoding), file=stream, flush=True)


def _parser() -> argparse.ArgumentParser:
    summary = str(sharedmem.__doc__).partition("\n")[0]
    parser = _Parser(prog="sharedmem", description=summary)
    parser.add_argument("--version", action="version", version=f"sharedmem {sharedmem.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    stats = commands.add_parser(
        "stats",
        help="say what arrays on disk hold",
        description="Read arrays in parallel and print their statistics. Extrema and moments are "
        "those of the finite elements; std divides by their number, and kurtosis is 0 for a normal "
        "distribution. What is damaged, or no numbers, is named on the standard error. The exit "
        "code is 2 if a file is damaged or has no numbers at all, and 0 otherwise.",
    )
    stats.set_defaults(run=_run_stats)
    # Python before 3.13 takes -1e3 for an option.
    stats._negative_number_matcher = re.compile(r"-\.?\d")
    stats.add_argument(
        "files", nargs="+", metavar="FILE",
        help=".npy, .npz, .h5, .zarr, or raw; file.npz[name] is one array of it",
    )  # fmt: skip
    raw = stats.add_argument_group("raw files")
    raw.add_argument("--dtype", type=_dtype, help="type of the elements, such as float32 or >i2")
    raw.add_argument("--shape", type=_shape, help="such as 100,200; by default one axis")
    stats.add_argument("--axis", type=int, help="one line of statistics for each line along it")
    stats.add_argument("--bins", type=_count, help=f"bins of the histogram ({DEFAULT_BINS})")
    stats.add_argument(
        "--range", type=float, nargs=2, metavar=("LO", "HI"),
        help="ends of the histogram; with them all is done in one pass",
    )  # fmt: skip
    stats.add_argument("--workers", type=int, help="threads; 0 for none beside the main one")
    stats.add_argument(
        "--dask", metavar="ADDRESS",
        help="the scheduler of a Dask cluster, whose workers see the files, such as tcp://host:8786",
    )  # fmt: skip
    stats.add_argument("--json", action="store_true", help="print JSON")
    stats.add_argument("--plot", type=Path, metavar="PICTURE", help="draw to this file, too")

    info = commands.add_parser("info", help="say what the machine offers")
    info.set_defaults(run=_run_info)
    return parser


def _run_info(_: argparse.Namespace) -> int:
    from sharedmem.cli.info import describe_machine

    for name, value in describe_machine().items():
        _print(f"{name:<14} {value}")
    return 0


def _run_stats(options: argparse.Namespace) -> int:
    _check(options)
    from sharedmem.cli import report
    from sharedmem.cli.inputs import LeftOut, open_sources

    try:
        parts = open_sources(options.files, options.dtype, options.shape, options.dask is None)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.plot is not None and len(parts) > MAX_PANELS:
        raise UsageError(f"--plot draws up to {MAX_PANELS} arrays, and there are {len(parts)}")
    all_found, all_left_out = [], []
    with _pool(options) as pool:
        for part in parts:
            found = part if isinstance(part, LeftOut) else _describe(pool, part, options)
            if isinstance(found, LeftOut):
                all_left_out.append(found)
                _fail(options, f"{found.name}: {found.reason}", 2)
                continue
            all_found.append(found)
            if not options.json:
                _print(report.as_text(found))
    if all_found:
        _print(
            report.as_json(all_found, all_left_out)
            if options.json
            else report.throughput(all_found)
        )
    if all_found and options.plot is not None:
        report.save_picture(all_found, options.plot)
    return 2 if not all_found or any(part.is_fault for part in all_left_out) else 0


def _describe(pool: sharedmem.MapReduce, source: Source, options: argparse.Namespace) -> Any:
    """Return the statistics of an array, or why there are none."""
    from sharedmem.cli.inputs import LeftOut, in_isolation, text_of
    from sharedmem.cli.statistics import Statistics, statistics

    n_axes = len(source.shape)
    if options.axis is not None and not -n_axes <= options.axis < n_axes:
        reason = f"there is no axis {options.axis} in {source.shape}"
        return LeftOut(source.name, reason, is_fault=True)
    bins = options.bins or DEFAULT_BINS
    compute = partial(statistics, pool, axis=options.axis, bins=bins, limits=options.range)
    try:
        if not source.is_fragile:
            return compute(source)
        one = np.zeros((1,) * n_axes, source.dtype)
        compute(source._replace(shape=one.shape, load=lambda: one))  # compiled for all processes
        numbers = in_isolation(lambda: compute(source)[1:])  # all but the source, which is here
        return Statistics(source, *numbers)
    except Exception as error:  # whatever a damaged file makes its reader raise
        return LeftOut(source.name, text_of(error), is_fault=True)


def _pool(options: argparse.Namespace) -> sharedmem.MapReduce:
    if options.dask is None:
        # Without a number, it would do nothing in parallel in a process of its own.
        n_workers = sharedmem.cpu_count() if options.workers is None else options.workers
        shows = sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
        return sharedmem.MapReduce(np=n_workers, progress=shows)
    try:
        return sharedmem.MapReduce(sharedmem.DaskBackend(options.dask))
    except ImportError as error:
        raise UsageError(str(error)) from error


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not fit together, before anything is read."""
    if options.shape is not None and options.dtype is None:
        raise UsageError("--shape needs --dtype, which says what its elements are")
    if options.axis is not None and (options.bins or options.range):
        raise UsageError("--bins and --range are for the histogram, which --axis goes without")
    if options.range is not None:
        low, high = options.range
        if not (math.isfinite(high - low) and low < high):
            raise UsageError(f"--range {low:g} {high:g} is no interval: LO has to be less than HI")
        try:
            np.histogram_bin_edges([], options.bins or DEFAULT_BINS, (low, high))
        except ValueError as error:
            raise UsageError(f"--range {low:.17g} {high:.17g}: {error}") from error
    if options.workers is not None and options.dask is not None:
        raise UsageError("--workers is for this machine; a cluster has as many workers as it has")
    if options.workers is not None and options.workers < 0:
        raise UsageError(f"--workers {options.workers} is less than 0")
    if options.plot is not None:
        _check_plot(options.plot)


def _check_plot(path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'sharedmem[plot]'")
    # What it says of windows is not needed, and need not be there.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except Exception as error:  # of its files of settings, too
        raise UsageError(f"--plot: matplotlib does not work here: {error}") from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend

    endings = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.removeprefix(".") not in endings:
        raise UsageError(f"--plot {path}: the name has to end in one of {', '.join(endings)}")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {path.parent}")


def _dtype(text: str) -> np.dtype[np.generic]:
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a dtype of NumPy") from None
    if dtype.itemsize == 0:
        raise argparse.ArgumentTypeError(f"{text!r} has elements of no size")
    return dtype


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        shape = (-1,)
    if any(length < 0 for length in shape):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape; write 100,200")
    return shape


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    if count > MAX_BINS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MAX_BINS}")
    return count
