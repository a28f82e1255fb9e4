"""The numbers that steer the engine: unit, value, and the benchmark row that each was chosen by."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

KIB, MIB = 1 << 10, 1 << 20
NOT_MEASURED = "not measured"


def _number(value: int, unit: str, row: str = NOT_MEASURED) -> Any:
    return dataclasses.field(default=value, metadata={"unit": unit, "row": row})


@dataclass(slots=True)
class Tuning:
    """Sizes and counts that the engine reads at each call.

    They are constants, so that no result depends on the machine. The metadata of each field has
    its `unit` and its `row`: the benchmark (family/row) to run after a change. Numbers that are
    compiled into kernels stand in `kernels/`. Tests patch them with the fixture `tuned`.
    """

    # Chunks. Large enough to hide the cost of a task, small enough to balance the load and to stay
    # in cache. Larger ones where an array has many: each costs threads a turn of the interpreter.
    chunk_bytes: int = _number(4 * MIB, "bytes", "reductions/sum-1GiB")
    largest_chunk_bytes: int = _number(16 * MIB, "bytes", "scaling/sum-16")
    many_chunks: int = _number(16, "chunks", "scaling/sum-16")
    # Files with chunks of different shapes are cut where all of them are, up to this size.
    joint_chunk_bytes: int = _number(32 * MIB, "bytes")
    # Chunks of a file are read so many at a time per worker, and only their states are kept.
    chunks_per_worker: int = _number(8, "chunks")

    # Fresh memory. What a thread fills at a time: smaller pieces would stay in cache, but each
    # collapse into huge pages waits for all cores. Where pages exist, or only the kernel writes,
    # pieces are larger.
    fill_piece_bytes: int = _number(8 * MIB, "bytes", "foundation/full-1GiB")
    clear_piece_bytes: int = _number(16 * MIB, "bytes", "foundation/zeros-1GiB")
    # A value of another size than numbers have is copied from a row of this size.
    fill_row_bytes: int = _number(16 * KIB, "bytes", "foundation/full-1GiB")

    # Spare memory: so many freed segments wait for the next ones of their size: of less than 1 MiB,
    # of at most an eighth of the largest size, and larger ones. The largest size is the first of
    # these numbers of bytes, or a part of the memory if that is less.
    spare_small: int = _number(32, "segments", "foundation/full-1MiB")
    spare_medium: int = _number(8, "segments", "foundation/full-8MiB")
    spare_large: int = _number(2, "segments", "foundation/full-128MiB")
    spare_bytes: int = _number(128 * MIB, "bytes", "foundation/full-128MiB")
    spare_share: int = _number(64, "parts")

    # Arenas. Arrays up to this size share segments, whose sizes grow from the second number to the
    # third.
    arena_bytes: int = _number(64 * KIB, "bytes", "share/small-empty")
    first_arena_bytes: int = _number(64 * KIB, "bytes")
    largest_arena_bytes: int = _number(4 * MIB, "bytes")

    # Threads. Waking one takes as long as a core needs for this much: see `sharedmem info`.
    thread_bytes: int = _number(2 * MIB, "bytes", "growth/sum-4194304")
    # More tasks than workers, so that workers end together though some are slower.
    tasks_per_worker: int = _number(4, "tasks", "reductions/sum-1GiB")

    # Reductions. Where lines lie side by side and are too long for one chunk, a chunk has at least
    # this many, so that its states are few beside its elements, and memory is read in long runs.
    lines_per_chunk: int = _number(1024, "lines", "axes/sum-tall-long")
    # Threads share lines that are as long as this: little is then left to finish serially.
    shared_line_length: int = _number(256, "elements", "axes/sum-middle")

    # Scans. A thread reads a chunk of a line twice: it stays in its cache.
    scan_chunk_bytes: int = _number(256 * KIB, "bytes", "scans/cumsum-1GiB")
    # Threads share lines as long as this; of shorter ones a task takes many.
    scan_line_bytes: int = _number(4 * MIB, "bytes", "scans/rows")

    # Sorts. NumPy does smaller ones alone: to wake threads and to merge takes what they save.
    sort_bytes: int = _number(2 * MIB, "bytes", "orders/sort-1MiB")
    # A shorter run is not worth a thread.
    sort_run_bytes: int = _number(256 * KIB, "bytes", "orders/sort-8MiB")
    # Of several lines, those as long as this are cut; a task takes many of shorter ones.
    sort_line_bytes: int = _number(4 * MIB, "bytes", "orders/columns-128MiB")
    # Bytes that a task merges, packs, or unpacks: a huge page, which two threads would both fault.
    sort_piece_bytes: int = _number(2 * MIB, "bytes", "orders/sort-128MiB")
    # A sort takes as long as so many reads of its elements: threads pay so much sooner.
    sort_reads: int = _number(8, "reads", "orders/sort-8MiB")
    # Runs of a line that are sorted already, and only need merging, in five rounds.
    natural_runs: int = _number(32, "runs")

    # Searches and selection. Values for a table as long as this are sorted before they are looked
    # up: neighboring searches then read the same cache lines.
    sorted_search_length: int = _number(1 << 14, "elements", "orders/search-8MiB")
    # From lines as long as this, top elements are chosen by a limit, and only these are sorted.
    topk_length: int = _number(1024, "elements", "orders/topk-1MiB")
    # NumPy finds that limit in smaller arrays, the workers in larger ones.
    topk_bytes: int = _number(2 * MIB, "bytes", "orders/topk-8MiB")
    # Limits around an order statistic are guessed from a sample of this size. Those of a file are
    # closer, since what is between them is brought together.
    sample_size: int = _number(1 << 14, "elements", "orders/median-128MiB")
    stored_sample_size: int = _number(1 << 20, "elements")
    # NumPy partitions for more ranks than this: each of them takes a pass here.
    quantile_ranks: int = _number(24, "ranks")

    # Histograms. Each piece of an array has its own table; all of them have room for no more than
    # a quarter of the elements.
    histogram_pieces: int = _number(64, "pieces", "selection/histogram-bins")
    histogram_elements_per_bin: int = _number(4, "elements", "selection/histogram-bins")
    # The bins of so many elements are found before they are counted, and stay in cache.
    histogram_run_length: int = _number(1 << 15, "elements", "selection/histogram-128MiB")
    # Tables of more bins than this, one per chunk, would take longer than reading.
    histogram_bins: int = _number(1 << 12, "bins")

    # Groups. More words of states than this do not fit into a cache: elements are put into buckets
    # of groups, and added bucket by bucket.
    group_table_words: int = _number(1 << 17, "words")
    # The words of states of the groups of a bucket, and the elements that are in buckets at a time,
    # put there by tasks with so many each.
    group_bucket_words: int = _number(1 << 15, "words")
    group_slab_length: int = _number(1 << 24, "elements")
    group_piece_length: int = _number(1 << 18, "elements")
    # Several results are computed of so many elements at a time, which stay in a cache.
    group_run_length: int = _number(1 << 16, "elements")

    # Expressions. Intermediate results stay in cache, and threads do not wait for the GIL.
    # NumPy computes smaller arrays before numba would have begun to compile.
    expression_piece_length: int = _number(1 << 16, "elements", "elementwise/exp-1MiB")
    # Elements that a thread of a compiled expression claims at a time.
    expression_claim_length: int = _number(1 << 15, "elements", "elementwise/exp-128MiB")
    # Results as large as this are written past the caches.
    streamed_bytes: int = _number(8 * MIB, "bytes", "elementwise/add")
    # NumPy's ufuncs are compiled for results as large as this.
    compiled_ufunc_bytes: int = _number(1 * MIB, "bytes", "elementwise/sqrt-1MiB")

    # Random numbers. The bytes that a task of a permutation writes.
    permutation_chunk_bytes: int = _number(2 * MIB, "bytes", "random_fill/permutation")
    # The elements to be shuffled stay in the L2 cache, and the buckets are few beside the items.
    permutation_bucket_length: int = _number(1 << 15, "elements", "random_fill/permutation")
    # An element takes as long to make as so many to read: threads pay so much sooner.
    random_reads: int = _number(4, "reads", "random_fill/uniform")


tuning = Tuning()
