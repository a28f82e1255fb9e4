"""The command line: `sharedmem stats` and `sharedmem info`."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

import sharedmem

DEFAULT_BINS = 20


class UsageError(Exception):
    """What was asked for cannot be done; the message is all that the user needs to see."""


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
        What the process exits with: 0, 1 if the work failed, 2 if it could not be begun.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UsageError as error:
        print(f"sharedmem {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough; the flush at exit must not raise again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (sharedmem.WorkerException, OSError, MemoryError) as error:
        print(f"sharedmem {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sharedmem", description=sharedmem.__doc__)
    parser.add_argument("--version", action="version", version=f"sharedmem {sharedmem.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    stats = commands.add_parser(
        "stats",
        help="say what arrays on disk hold",
        description="Read arrays in parallel and print their statistics. Extrema and moments are "
        "those of the finite elements; std divides by their number, and kurtosis is 0 for a normal "
        "distribution.",
    )
    stats.set_defaults(run=_run_stats)
    # Python before 3.13 takes -1e3 for an option.
    stats._negative_number_matcher = re.compile(r"-\.?\d")
    stats.add_argument("files", nargs="+", metavar="FILE", help=".npy, .npz, .h5, .zarr, or raw")
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


def _run_info(_: argparse.Namespace) -> None:
    from sharedmem.info import describe_machine

    for name, value in describe_machine().items():
        print(f"{name:<14} {value}")


def _run_stats(options: argparse.Namespace) -> None:
    _check(options)
    from sharedmem import report
    from sharedmem.sources import open_sources
    from sharedmem.stats import statistics

    try:
        sources = open_sources(options.files, options.dtype, options.shape)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for source in sources:
        n_axes = len(source.shape)
        if options.axis is not None and not -n_axes <= options.axis < n_axes:
            raise UsageError(f"{source.name}: there is no axis {options.axis} in {source.shape}")
    all_found = []
    with _pool(options) as pool:
        for source in sources:
            found = statistics(
                pool, source, options.axis, options.bins or DEFAULT_BINS, options.range
            )
            all_found.append(found)
            if not options.json:
                print(report.as_text(found), flush=True)
    print(report.as_json(all_found) if options.json else report.throughput(all_found))
    if options.plot is not None:
        report.save_picture(all_found, options.plot)


def _pool(options: argparse.Namespace) -> sharedmem.MapReduce:
    if options.dask is None:
        return sharedmem.MapReduce(np=options.workers, progress=sys.stderr.isatty())
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
    if options.workers is not None and options.dask is not None:
        raise UsageError("--workers is for this machine; a cluster has as many workers as it has")
    if options.workers is not None and options.workers < 0:
        raise UsageError(f"--workers {options.workers} is less than 0")
    if options.plot is not None:
        _check_plot(options.plot)


def _check_plot(path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'sharedmem[plot]'")
    from matplotlib.backend_bases import FigureCanvasBase

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
    return count
