"""A tour: count calls in Python's library, then fill, transform, and describe 1 GiB of numbers."""

import ast
import math
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

import sharedmem
from sharedmem.cli.main import main

PICTURE = Path("demo.png")
SHAPE = (16384, 8192)  # 1 GiB of float64
SIGMA = 0.4
N_ROUNDS = 3


def clocks() -> NDArray[np.float64]:
    """Return the time, the CPU time of the whole machine, and that of this program, in seconds."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:9])
    machine = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return np.array([time.perf_counter(), machine, sum(os.times()[:4])])


def count_calls() -> None:
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(library.glob("*.py"), key=lambda file: file.stat().st_size, reverse=True)
    sources = [file.read_bytes() for file in files]
    print(f"Most called functions in {len(files)} modules of Python's library", end=", ")
    print(f"{sum(map(len, sources)) / 1e6:.1f} MB")

    def count(source: bytes) -> Counter[str]:
        nodes = ast.walk(ast.parse(source))
        called = [node.func for node in nodes if isinstance(node, ast.Call)]
        return Counter(function.id for function in called if isinstance(function, ast.Name))

    serial: Counter[str] = Counter()
    for source in sources:
        serial.update(count(source))
    n_workers = sharedmem.cpu_count()
    spent: dict[int, list[NDArray[np.float64]]] = {1: [], n_workers: []}
    for n in [1, n_workers] * N_ROUNDS:
        total: Counter[str] = Counter()
        start = clocks()
        with sharedmem.MapReduce(np=n) as pool:
            pool.map(count, sources, reduce=total.update)
        spent[n].append(clocks() - start)
        if total != serial:
            sys.exit("the parallel counts differ from the serial ones")

    print(f"  {', '.join(f'{name} {number:,}' for name, number in serial.most_common(7))}")
    one, several = (np.median(spent[n], axis=0)[0] for n in (1, n_workers))
    print(
        f"1 worker {one:.2f} s, {n_workers} workers {several:.2f} s: {one / several:.2f} x faster "
        f"(medians of {N_ROUNDS}), same counts as a serial loop"
    )
    seconds, machine, own = np.sum(spent[n_workers], axis=0)
    others = (machine - own) / seconds
    if n_workers + others > (os.cpu_count() or 1) + 0.2:
        print(f"Other programs used {others:.1f} cores: run it again when the machine is idle")
    print()


@numba.njit(nogil=True)
def to_lognormal(x, sigma):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] = math.exp(sigma * x[i, j])


def make_field(file: Path) -> None:
    clock = [time.perf_counter()]
    field = sharedmem.empty(SHAPE)
    with sharedmem.MapReduce(seed=1) as pool:

        def fill(chunk: sharedmem.Chunk) -> None:
            pool.rng.standard_normal(out=field[chunk])

        pool.map(fill, sharedmem.chunks(field))
        clock.append(time.perf_counter())
        pool.map_chunks(to_lognormal, field, args=(SIGMA,))
    clock.append(time.perf_counter())
    np.save(file, field)
    clock.append(time.perf_counter())
    filled, transformed, saved = np.diff(clock)
    print(
        f"1 GiB: filled with normal random numbers in {filled:.2f} s, made lognormal by a "
        f"kernel in {transformed:.2f} s, saved in {saved:.2f} s\n"
    )


def describe_field(file: Path) -> None:
    arguments = ["stats", str(file), "--range", "0", "4", "--bins", "32", "--plot", str(PICTURE)]
    print(f"$ sharedmem {' '.join(arguments)}")
    if main(arguments) != 0:
        sys.exit("sharedmem stats failed")
    square = math.exp(SIGMA**2)
    skew = (square + 2) * math.sqrt(square - 1)
    print(
        f"Theory: mean {math.exp(SIGMA**2 / 2):.6g}, "
        f"std {math.exp(SIGMA**2 / 2) * math.sqrt(square - 1):.6g}, skew {skew:.6g}\n"
    )


def run() -> None:
    start = time.perf_counter()
    count_calls()
    with tempfile.TemporaryDirectory(prefix="sharedmem-demo-") as folder:
        free = shutil.disk_usage(folder).free
        if free < 2 << 30:
            sys.exit(f"{folder} has {free >> 20} MiB free; 2 GiB are required: set TMPDIR")
        file = Path(folder) / "field.npy"
        make_field(file)
        describe_field(file)
    print(
        f"Done in {time.perf_counter() - start:.0f} s. The file has been deleted; the picture is "
        f"{PICTURE.resolve()}"
    )


if __name__ == "__main__":
    run()
