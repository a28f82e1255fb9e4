"""A tour: count words in Python's library, then fill, transform, and describe 1 GiB of numbers."""

import math
import re
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path

import numba
import numpy as np

import sharedmem
from sharedmem.cli.main import main

PICTURE = Path("demo.png")
SHAPE = (16384, 8192)  # 1 GiB of float64
SIGMA = 0.4
N_GROUPS = 32


def count_words() -> None:
    library = Path(sysconfig.get_path("stdlib"))
    files = [file for file in library.rglob("*.py") if "site-packages" not in file.parts]
    nbytes = sum(
        len(file.read_bytes()) for file in files
    )  # which also brings them into the page cache
    print(f"Words of at least 3 letters in {len(files)} files of Python's library", end=", ")
    print(f"{nbytes / 1e6:.0f} MB")

    def count(group: int) -> Counter[str]:
        words: Counter[str] = Counter()
        for file in files[group::N_GROUPS]:
            words.update(re.findall(r"[a-z]{3,}", file.read_text("utf-8", "replace").lower()))
        return words

    n_workers = sharedmem.cpu_count()
    seconds: dict[int, list[float]] = {0: [], n_workers: []}
    totals = []
    for n in [0, n_workers] * 3:
        total: Counter[str] = Counter()
        start = time.perf_counter()
        with sharedmem.MapReduce(np=n) as pool:
            pool.map(count, range(N_GROUPS), reduce=total.update)
        seconds[n].append(time.perf_counter() - start)
        totals.append(total)
    if any(total != totals[0] for total in totals):
        sys.exit("the parallel count differs from the serial one")
    for word, number in totals[0].most_common(10):
        print(f"  {word:<12} {number:>8,}")
    serial, parallel = statistics.median(seconds[0]), statistics.median(seconds[n_workers])
    print(
        f"Serial {serial:.2f} s, with {n_workers} workers {parallel:.2f} s: "
        f"{serial / parallel:.2f} x faster (medians of 3), same counts\n"
    )


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
    count_words()
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
