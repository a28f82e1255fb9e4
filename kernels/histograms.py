"""Histograms: counts of elements in bins, with the same edges as NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.emitted import bits, call
from sharedmem.kernels.loops.emit import Block, Emitter, add_one
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of, as_numbers, has_kernel
from sharedmem.kernels.loops.memory import DOUBLE, WORD, Numbers, Table, kind_of
from sharedmem.kernels.loops.vectors import VECTOR, Vector, tree_sum
from sharedmem.kernels.quiet import quiet
from sharedmem.kernels.reduction import LineReduction, State, add_counts, only_part

# The lower and upper limit of bins of equal width: numbers of Python or NumPy, as given.
Ends = tuple[Any, Any]
# The lower and upper limit of each bin, and the slack: see `limits`.
Limits = tuple[Array, Array, float]

# The number of elements that are binned in one loop, in vectors, and counted in another.
RUN = 512
# Tables of counts: equal neighbors do not wait for each other.
_N_TABLES = 4
# NumPy corrects the computed bin of an element by one at most.
_LARGEST_ERROR = 0.95
# Integers up to _WHOLE are exact in float64; those of _LONG bytes may be larger.
_WHOLE, _LONG = 2.0**53, 8


@quiet
def slack_of(edges: Array) -> float:
    """Return the largest error of the multiplication that finds an edge, in widths of a bin.

    The multiplication is monotonic, so an element farther than that from all edges is in the right
    bin. The slack is infinite where there is no such bound.
    """
    numbers = edges.astype(np.float64)
    n_bins = len(edges) - 1
    places = (numbers - numbers[0]) * (n_bins / (numbers[-1] - numbers[0]))
    slack = float(np.abs(places - np.arange(n_bins + 1)).max()) + 2.0**-50
    return slack if slack < 0.25 and n_bins < 2**31 else np.inf


def limits(edges: Array, uniform: bool) -> Limits:
    """Return the lower and upper limits of even bins, and their slack; for others it is infinite.

    NaN is not a limit: the last bin is closed, and the one after it takes what is outside.
    """
    slack = slack_of(edges) if uniform else np.inf
    inner = edges.astype(np.float64) if slack < np.inf else np.empty(0)
    return np.append(inner[:-1], np.nan), np.append(inner[1:-1], [np.nan, np.nan]), slack


def find_bins(x: Array, edges: Array, limits: Limits, bins: Array) -> None:
    """Write the bin of each element, or `n_bins` for one outside; the last bin is closed.

    Parameters
    ----------
    x : ndarray, shape (n,), C-contiguous
    edges : ndarray, shape (n_bins + 1,)
        In ascending order.
    limits
        The :func:`limits` of `edges`.
    bins : ndarray of int64, shape (n,)
    """
    call(_emit_find, *_search(x, edges, limits), len(x), address_of(bins))


def join(cells: Array, n_cells: int, bins: Array, n_bins: int) -> None:
    """Combine `cells` with the `bins` of another axis; outside of one axis is outside of all."""
    call(_emit_join, (), address_of(cells), n_cells, address_of(bins), n_bins, len(cells))


def tally(bins: Array, counts: Array) -> None:
    """Add the number of occurrences of each bin, of any dtype of integers, to `counts`."""
    call(_emit_tally, (bins.dtype,), address_of(bins), len(bins), address_of(counts))


def weigh(bins: Array, weights: Array, totals: Array) -> None:
    """Add the weights of the elements of each bin to `totals`, in order.

    The weights have the dtype of the totals.
    """
    arrays = address_of(bins), address_of(weights), address_of(totals)
    call(_emit_weigh, (bins.dtype, totals.dtype), *arrays, len(bins))


def search_type(
    dtype: np.dtype[Any], edges: Array, uniform: bool = False, ends: Ends | None = None
) -> np.dtype[Any] | None:
    """Return the dtype in which kernels compare elements with edges as NumPy does, or None.

    For bins of equal width, NumPy computes the bin of an element from their `ends`, and corrects
    it by one bin. Where the error may be larger, the result depends on that arithmetic.
    """
    common = np.result_type(dtype, edges.dtype)
    if not (has_kernel(dtype, "biuf") and has_kernel(edges.dtype, "biuf")) or common.kind == "b":
        return None
    if uniform and not _are_bins_exact(dtype, edges, ends):
        return None
    return np.dtype("i8" if common.kind == "i" else "u8" if common.kind == "u" else "f8")


@quiet
def _are_bins_exact(dtype: np.dtype[Any], edges: Array, ends: Ends | None) -> bool:
    """Return whether NumPy puts each element into the bin of equal width that its edges give."""
    if edges.dtype.kind != "f" or slack_of(edges) == np.inf:
        return False
    if ends is None:
        return True
    first, last = ends if ends[0] != ends[1] else (ends[0] - 0.5, ends[1] + 0.5)
    if dtype.kind in "iu":  # NumPy compares them with the limits as integers
        exact = max(abs(float(first)), abs(float(last))) <= _WHOLE or dtype.itemsize < _LONG
        if not exact:
            return False
    n_bins = len(edges) - 1
    numbers = edges.astype(np.float64)
    places = (numbers - numbers[0]) * (n_bins / (float(last) - float(first)))
    error = np.abs(places - np.arange(n_bins + 1)).max()
    # The difference, the quotient and the product are rounded.
    return bool(error + 1.5 * n_bins * np.finfo(edges.dtype).eps < _LARGEST_ERROR)


def histogram(
    dtype: DTypeLike, edges: Array, uniform: bool, ends: Ends | None = None
) -> LineReduction:
    """Return the number of elements of each line in each bin; the last bin is closed.

    Parameters
    ----------
    dtype : dtype
    edges : ndarray
        In ascending order.
    uniform : bool
        Whether NumPy made them for bins of equal width.
    ends : (number, number), optional
        The limits that NumPy made them from; by default the outer edges.
    """
    searched = search_type(np.dtype(dtype), edges, uniform, ends)
    if searched is None:
        chunk = partial(_numpy_chunk, edges=edges, uniform=uniform, ends=ends)
    else:
        chunk = partial(_chunk, edges=edges.astype(searched), limits=limits(edges, uniform))
    return LineReduction(chunk, add_counts, only_part, identity=(0,))


def native(x: Array) -> Array:
    """Return numbers in the layout that kernels are compiled for."""
    return np.require(x, x.dtype.newbyteorder("="), ["C", "A"]).view(np.ndarray)


def _chunk(x: Array, edges: Array, limits: Limits) -> State:
    numbers = native(as_numbers(x).transpose(0, 2, 1).reshape(-1, x.shape[1]))
    counts = np.zeros((len(numbers), len(edges) - 1), np.int64)
    tables = np.empty((_N_TABLES, len(edges)), np.int64)
    arrays = address_of(tables), address_of(counts)
    call(_emit_count, *_search(numbers, edges, limits), *numbers.shape, *arrays)
    return (counts.reshape(x.shape[0], x.shape[2], -1),)


def _numpy_chunk(x: Array, edges: Array, uniform: bool, ends: Ends | None = None) -> State:
    n_bins = len(edges) - 1
    bins: Any = n_bins if uniform else edges
    limits = (ends or (edges[0], edges[-1])) if uniform else None
    counts = np.empty((x.shape[0], x.shape[2], n_bins), np.int64)
    for outer, inner in np.ndindex(counts.shape[:2]):
        counts[outer, inner], _ = np.histogram(x[outer, :, inner], bins, limits)
    return (counts,)


# The words of the block of a kernel that finds bins. Others follow.
X, EDGES, LOWER, UPPER, SLACK, N_BINS, MORE = range(7)
_INDEX = kind_of(np.dtype(np.int32))  # AVX2 converts to int32, but not to int64


def _search(x: Array, edges: Array, limits: Limits) -> tuple[Any, ...]:
    """Return the form of a kernel that finds bins, and the first words of its block."""
    lower, upper, slack = limits
    arrays = (address_of(each) for each in (x, edges, lower, upper))
    return (x.dtype, edges.dtype, slack < np.inf), *arrays, bits(slack), len(edges) - 1


class _Bins:
    """Finds the bin of each element, or `n_bins` for one outside."""

    def __init__(
        self, code: Emitter, block: Block, dtype: np.dtype[Any], searched: np.dtype[Any],
        is_even: bool,
    ) -> None:  # fmt: skip
        self._code, self._is_even = code, is_even
        self._x, self._edges = (
            block.numbers(X, kind_of(dtype)),
            block.numbers(EDGES, kind_of(searched)),
        )
        self._lower, self._upper = (block.numbers(word, DOUBLE) for word in (LOWER, UPPER))
        self._slack, self.n = block.number(SLACK), block.integer(N_BINS)
        self._ends = [self._edges.load(at, 1) for at in (code.constant(0), self.n)]

    def write(self, first: Int, n: Int, bins: Numbers) -> None:
        """Write the bins of `n` elements from a first one."""
        write_some = self._write_even if self._is_even else self._write_uneven

        def search(at: Int, width: int) -> None:
            x = self._x.load(first + at, width).widen(self._ends[0])
            lowest, highest = (end.repeat(width) for end in self._ends)
            write_some(x, (x >= lowest) & (x <= highest), bins.start(at))

        self._code.in_vectors(n, search, (VECTOR, 4, 1))

    def _write_even(self, x: Vector, is_inside: Vector, bins: Numbers) -> None:
        """Compute the bins of elements between even edges by a multiplication.

        If an element is within the slack of an edge, it may belong to the next bin, and the
        elements are compared with the edges.
        """
        code, width, half = self._code, x.width, x.full(0.5)
        lowest, highest = (end.repeat(width) for end in self._ends)
        n_bins, slack = self.n.as_float().repeat(width), self._slack.repeat(width)
        place = (x - lowest) * (n_bins / (highest - lowest))
        place = (place < n_bins - half).choose(place, n_bins - half)
        place = is_inside.choose(place, n_bins + half)
        found = place.convert(_INDEX.type)
        rest = place - found.convert(DOUBLE.type)
        bins.store(found, code.constant(0))
        with code.when(code.any((rest < slack) | (rest > x.full(1) - slack))):
            places = [code.integer(found.lane(lane)) for lane in range(width)]
            is_lower, is_upper = x < self._lower.gather(places), x >= self._upper.gather(places)
            bins.store(found - is_lower.ones(found) + is_upper.ones(found), code.constant(0))

    def _write_uneven(self, x: Vector, is_inside: Vector, bins: Numbers) -> None:
        """Find the bins of elements by bisection, each step of them all together."""
        code, edges = self._code, self._edges
        n_bins = self.n.as_vector().repeat(x.width)
        length, starts = code.variable(self.n), code.variable(n_bins.full(0))
        with code.repeat() as steps:
            left, start = length.get(), starts.get()
            steps.leave_if(left < 2)
            half = left // 2
            middle = start + half.as_vector().repeat(x.width)
            places = [code.integer(middle.lane(lane)) for lane in range(x.width)]
            starts.set((edges.gather(places) <= x).choose(middle, start))
            length.set(left - half)
        bins.store(is_inside.choose(starts.get(), n_bins), code.constant(0))


def _emit_find(code: Emitter, block: Block, *form: Any) -> None:
    bins = _Bins(code, block, *form)
    bins.write(code.constant(0), block.integer(MORE), block.numbers(MORE + 1, WORD))


def _emit_join(code: Emitter, block: Block) -> None:
    cells, n_cells = block.numbers(0, WORD), block.integer(1)
    bins, n_bins = block.numbers(2, WORD), block.integer(3)
    n_all = n_cells * n_bins

    def join_some(at: Int, width: int) -> None:
        first, second = cells.load(at, width), bins.load(at, width)
        limits = [n.as_vector().repeat(width) for n in (n_cells, n_bins, n_all)]
        is_inside = (first < limits[0]) & (second < limits[1])
        cells.store(is_inside.choose(first * limits[1] + second, limits[2]), at)

    code.in_vectors(block.integer(4), join_some, (4, 1))


def _emit_tally(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    bins, n, counts = block.numbers(0, kind_of(dtype)), block.integer(1), block.numbers(2, WORD)
    with code.loop(0, n) as at:
        add_one(code, counts, code.integer(bins.load(at, 1)))


def _emit_weigh(code: Emitter, block: Block, dtype: np.dtype[Any], summed: np.dtype[Any]) -> None:
    bins, n = block.numbers(0, kind_of(dtype)), block.integer(3)
    weights, totals = (block.numbers(word, kind_of(summed)) for word in (1, 2))
    with code.loop(0, n) as at:
        bin = code.integer(bins.load(at, 1))
        totals.store(totals.load(bin, 1) + weights.load(at, 1), bin)


def _emit_count(code: Emitter, block: Block, *form: Any) -> None:
    """Add the number of elements of each line in each bin to counts."""
    search, found = _Bins(code, block, *form), code.on_stack(_INDEX, RUN)
    n_lines, n = block.integer(MORE), block.integer(MORE + 1)
    tables = Table(block.numbers(MORE + 2, WORD), search.n + 1, _N_TABLES)
    counts = block.numbers(MORE + 3, WORD)

    def clear(at: Int, width: int) -> None:
        tables.store([counts.full(0, width)] * _N_TABLES, at)

    def count(at: Int, width: int) -> None:
        for lane in range(width):
            add_one(code, tables.row(lane), code.integer(found.load(at + lane, 1)))

    with code.loop(0, n_lines) as line:
        code.in_vectors(search.n + 1, clear, (4, 1))
        with code.loop(0, n, RUN) as first:
            length = (n - first).least(RUN)
            search.write(line * n + first, length, found)
            code.in_vectors(length, count, (_N_TABLES, 1))
        of_line = counts.start(line * search.n)

        def add(at: Int, width: int, of_line: Numbers = of_line) -> None:
            of_line.store(of_line.load(at, width) + tree_sum(tables.load(at, width)), at)

        code.in_vectors(search.n, add, (4, 1))
