"""The command line's options: the parser, and the checks before anything is read."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import sharedmem

DEFAULT_BINS = 20
DEFAULT_DTYPES = ("float64", "float32", "int64")
# Counts and edges of more bins would take more memory than most arrays.
MAX_BINS = 1_000_000


class UsageError(Exception):
    """An invalid option or input; the message is complete."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Python before 3.13 parses -1e3 as an option.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    summary = str(sharedmem.__doc__).partition("\n")[0]
    parser = _Parser(prog="sharedmem", description=summary)
    parser.add_argument("--version", action="version", version=f"sharedmem {sharedmem.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_stats(commands)
    commands.add_parser("info", help="describe the machine")
    _add_warm(commands)
    return parser


def _add_stats(commands: Any) -> None:
    stats = commands.add_parser(
        "stats",
        help="describe arrays in files",
        description="Read arrays in parallel and print their statistics. Extrema and moments are "
        "those of the finite elements; std is the population standard deviation, and kurtosis is "
        "0 for a normal distribution. Arrays that are damaged or not numeric are reported on "
        "standard error. The exit status is 2 if a file is damaged or has no numeric array.",
    )
    add = stats.add_argument
    add(
        "files", nargs="+", metavar="FILE",
        help=".npy, .npz, .h5, .zarr, or raw; file.npz[member] selects a member, and with --expr "
        "u=FILE gives its array the name u",
    )  # fmt: skip
    add("--dtype", type=_dtype, help="dtype of raw files, such as float32 or >i2")
    add("--shape", type=_shape, help="shape of raw files, such as 100,200 (default: one axis)")
    add(
        "--expr", action="append", metavar="EXPRESSION",
        help="describe an expression of the arrays, such as 'sqrt(u*u + v*v)', which is computed "
        "as they are read; may be given more than once",
    )  # fmt: skip
    add("--axis", type=int, help="print statistics along this axis")
    add("--bins", type=_bins, help=f"number of histogram bins (default: {DEFAULT_BINS})")
    add(
        "--range", type=float, nargs=2, metavar=("LO", "HI"),
        help="limits of the histogram; the file is then read once instead of twice",
    )  # fmt: skip
    add("--workers", type=int, help="number of threads; 0: serial")
    add(
        "--dask", metavar="ADDRESS",
        help="scheduler of a Dask cluster whose workers can read the files, such as tcp://host:8786",
    )  # fmt: skip
    add("--json", action="store_true", help="print JSON")
    add("--plot", type=Path, metavar="PICTURE", help="also draw a picture")


def _add_warm(commands: Any) -> None:
    warm = commands.add_parser(
        "warm",
        help="compile functions ahead",
        description="Compile the kernels of functions, and keep them on disk, where later programs "
        "find them: in an image of a container, or on the storage of a cluster. Kernels that are "
        "on disk already are not compiled again.",
    )
    warm.add_argument(
        "functions", nargs="*", metavar="FUNCTION",
        help="name such as sum or random.normal (default: all functions)",
    )  # fmt: skip
    warm.add_argument(
        "--dtype", type=_dtypes, default=list(DEFAULT_DTYPES), metavar="DTYPE[,DTYPE...]",
        help=f"dtypes of arrays (default: {','.join(DEFAULT_DTYPES)})",
    )  # fmt: skip
    warm.add_argument("--workers", type=int, help="number of processes; 0: serial")


def check_warm(options: argparse.Namespace, functions: Sequence[str]) -> None:
    """Refuse functions that are not among `functions`, and a negative number of workers."""
    for name in options.functions:
        if name not in functions:
            near = difflib.get_close_matches(name, functions, 1)
            hint = f": did you mean {near[0]}?" if near else f"; choose from {', '.join(functions)}"
            raise UsageError(f"{name!r} is not a function with kernels{hint}")
    if options.workers is not None and options.workers < 0:
        raise UsageError(f"--workers must be at least 0, got {options.workers}")


def check(options: argparse.Namespace) -> None:
    """Refuse invalid combinations of options of ``stats``, and fill in the number of bins.

    Raises
    ------
    UsageError
        With a message that names the options.
    """
    if options.shape is not None and options.dtype is None:
        raise UsageError("--shape requires --dtype")
    if options.axis is not None and (options.bins or options.range):
        raise UsageError("--bins and --range cannot be combined with --axis: it has no histogram")
    options.bins = options.bins or DEFAULT_BINS
    if options.range is not None:
        low, high = options.range
        if not (math.isfinite(high - low) and low < high):
            raise UsageError(f"--range {low:g} {high:g}: LO must be less than HI, and both finite")
        try:
            np.histogram_bin_edges([], options.bins, (low, high))
        except ValueError as error:
            raise UsageError(f"--range {low:.17g} {high:.17g}: {error}") from error
    if options.workers is not None and options.dask is not None:
        raise UsageError("--workers cannot be combined with --dask: the cluster sets the number")
    if options.workers is not None and options.workers < 0:
        raise UsageError(f"--workers must be at least 0, got {options.workers}")
    if options.plot is not None:
        _check_plot(options.plot)


def _check_plot(path: Path) -> None:
    # The backend is for windows only, and the one that the variable names may be missing.
    os.environ.pop("MPLBACKEND", None)
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except Exception as error:  # its configuration files may be invalid, too
        reason = f"--plot requires matplotlib, pip install 'sharedmem[plot]': {error}"
        raise UsageError(reason) from error
    suffixes = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.removeprefix(".") not in suffixes:
        raise UsageError(f"--plot {path}: the name must end in one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {path}: folder {path.parent} does not exist")


def _dtype(text: str) -> np.dtype[np.generic]:
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a NumPy dtype") from None
    if dtype.itemsize == 0:
        raise argparse.ArgumentTypeError(f"{text!r} has an item size of 0 bytes")
    return dtype


def _dtypes(text: str) -> list[str]:
    dtypes = [_dtype(part.strip()) for part in text.split(",")]
    for dtype in dtypes:
        if dtype.kind not in "biufc":
            raise argparse.ArgumentTypeError(f"{dtype} is not a dtype of numbers")
    return [dtype.str for dtype in dtypes]


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[\d, ]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape; write 100,200")
    return tuple(int(length) for length in text.split(",") if length)


def _bins(text: str) -> int:
    count = int(text) if text.isdecimal() else 0
    if not 1 <= count <= MAX_BINS:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 1 to {MAX_BINS}")
    return count
