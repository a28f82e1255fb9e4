"""The ten most frequent words of a corpus."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import numpy as np

import sharedmem
from harness.timing import MIB, scratch

N_WORDS = 20_000


def prepare(n_files: int) -> list[Path]:
    """Write files of words whose frequencies follow Zipf's law, unless they are there."""
    folder = scratch() / f"corpus-{n_files}"
    files = [folder / f"{k}.txt" for k in range(n_files)]
    if not folder.exists():
        folder.mkdir()
        rng = np.random.default_rng(0)
        letters = rng.choice(list("abcdefghijklmnopqrstuvwxyz"), (N_WORDS, 9))
        words = np.array(["".join(row[: 2 + k % 8]) for k, row in enumerate(letters)])
        frequencies = 1 / np.arange(1, N_WORDS + 1)
        for file in files:
            chosen = rng.choice(words, MIB // 7, p=frequencies / frequencies.sum())
            file.write_text(" ".join(chosen.tolist()))
    return files


def count(file: Path) -> Counter[str]:
    return Counter(file.read_text().split())


def ours(files: list[Path]) -> list[int]:
    total: Counter[str] = Counter()
    with sharedmem.MapReduce() as pool:
        pool.map(count, files, reduce=total.update)
    return [n for _, n in total.most_common(10)]


def plain(files: list[Path]) -> list[int]:
    total: Counter[str] = Counter()
    for file in files:
        total.update(count(file))
    return [n for _, n in total.most_common(10)]


def peer(files: list[Path]) -> list[int]:
    total: Counter[str] = Counter()
    with multiprocessing.get_context("fork").Pool() as pool:
        for found in pool.imap_unordered(count, files):
            total.update(found)
    return [n for _, n in total.most_common(10)]
