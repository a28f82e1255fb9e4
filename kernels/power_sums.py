"""Sums of powers of deviations from the mean, with counts and extrema, in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sharedmem.kernels.centers import SPAN, in_spans, sum_about_centers
from sharedmem.kernels.extrema import greater, lesser
from sharedmem.kernels.loops.emit import Emitter, Variable
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import LANES
from sharedmem.kernels.loops.lines import Family
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.loops.walks import add_groups
from sharedmem.kernels.sums import two_sum
from sharedmem.kernels.variances import exact_product, mean_difference


def merge_powers(
    a: Sequence[Vector], b: Sequence[Vector], delta: Vector
) -> tuple[Vector, Vector, Vector]:
    """Return the sums of the powers 2, 3, 4 of deviations from the mean of two sets together.

    Each set is a count and these sums about its own mean. The means differ by `delta`.

    References
    ----------
    P. Pebay, Formulas for robust, one-pass parallel computation of covariances and
    arbitrary-order statistical moments, Sandia report SAND2008-6212, 2008, eqs. 1.5 to 1.7.
    """
    n_a, m2_a, m3_a, m4_a = a
    n_b, m2_b, m3_b, m4_b = b
    three, four, six = (delta.full(number) for number in (3, 4, 6))
    n = n_a + n_b
    p = n_a / n
    q = n_b / n
    square = delta * delta
    product = n_a * q
    between = square * product  # NaN where the means overflow
    m2 = m2_a + m2_b + between.or_infinity()
    m3 = m3_a + m3_b + delta * (between * (p - q) + three * (p * m2_b - q * m2_a))
    m4 = (
        m4_a + m4_b + square * (between * (p * p - p * q + q * q))
        + six * square * (p * p * m2_b + q * q * m2_a) + four * delta * (p * m3_b - q * m3_a)
    )  # fmt: skip
    return m2, m3, m4


# A state: the sum and its rounding error, the count, the powers of deviations from the mean, the
# extrema, and the counts of NaN, of infinity, and of its negative.
TOTAL, LOST, COUNT, M2, M3, M4, MIN, MAX, N_NAN, N_PLUS, N_MINUS = range(11)
IDENTITY = (0, 0, 0, 0, 0, 0, math.inf, -math.inf, 0, 0, 0)


def _merge(a: Sequence[Vector], b: Sequence[Vector]) -> list[Vector]:
    """Return the sums of two sets together, from TOTAL to M4."""
    n_a, n_b = a[COUNT], b[COUNT]
    delta = mean_difference(n_a, a[TOTAL], a[LOST], n_b, b[TOTAL], b[LOST])
    powers = merge_powers((n_a, *a[M2 : M4 + 1]), (n_b, *b[M2 : M4 + 1]), delta)
    total, error = two_sum(a[TOTAL], b[TOTAL])
    both = [total, a[LOST] + (b[LOST] + error), n_a + n_b, *powers]
    zero = n_a.full(0)
    return [
        n_b.equals(zero).choose(one, n_a.equals(zero).choose(other, merged))
        for one, other, merged in zip(a, b, both, strict=False)
    ]


# What is summed of a span of rows: powers of deviations from a center, and extrema.
_CENTER, _P1, _P2, _P3, _P4, _LOW, _HIGH = range(7)


# The number of rows that are added to a vector of lanes at once, and the widths of vectors: the
# sums of the first one stay in registers meanwhile.
_GROUP, _WIDTHS = 8, (4, 1)


def _step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    for at in range(0, len(rows), 2):
        state = _add_pair(state, rows[at].widen(state[0]), rows[at + 1].widen(state[0]))
    return state


def _add_pair(state: Sequence[Vector], a: Vector, b: Vector) -> Sequence[Vector]:
    center, p1, p2, p3, p4, low, high = state
    is_less = a < b
    low = lesser(is_less.choose(a, b), low)
    high = greater(is_less.choose(b, a), high)
    a, b = a - center, b - center
    a2, b2 = a * a, b * b
    return (
        center, p1 + (a + b), p2 + (a2 + b2), p3 + (a2 * a + b2 * b), p4 + (a2 * a2 + b2 * b2),
        low, high,
    )  # fmt: skip


def _add_last(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    center, p1, p2, p3, p4, low, high = state
    a = rows[0].widen(center)
    low, high = lesser(a, low), greater(a, high)
    a = a - center
    return center, p1 + a, p2 + a * a, p3 + a * a * a, p4 + (a * a) * (a * a), low, high


def _add_powers(code: Emitter, x: Numbers, n: Int, stride: Int, width: Int, scratch: Table) -> None:
    """Sum the powers of deviations of rows from the center of each lane."""

    def clear(at: Int, width: int) -> None:
        for row, number in ((_P1, 0), (_P2, 0), (_P3, 0), (_P4, 0), (_LOW, math.inf)):
            scratch.row(row).store(scratch.numbers.full(number, width), at)
        scratch.row(_HIGH).store(scratch.numbers.full(-math.inf, width), at)

    code.in_vectors(width, clear, _WIDTHS)
    n_groups = n // _GROUP
    with code.loop(0, n_groups) as group:
        rows = x.start(group * (stride * _GROUP))
        one = code.constant(1)

        def add_group(at: Int, width: int) -> None:
            add_groups(code, _step, rows.start(at), one, stride, _GROUP, stride, scratch, at, width)

        code.in_vectors(width, add_group, _WIDTHS)
    done = n_groups * _GROUP
    n_pairs = (n - done) // 2

    def add_rest(at: Int, width: int) -> None:
        rows = x.start(done * stride + at)
        add_groups(code, _step, rows, n_pairs, stride * 2, 2, stride, scratch, at, width)
        row = x.start((n - 1) * stride + at)
        add_groups(code, _add_last, row, n % 2, stride, 1, stride, scratch, at, width)

    code.in_vectors(width, add_rest, _WIDTHS)


def _add_span(
    code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, width: Int, scratch: Table
) -> None:
    def merge(j: Int, width: int) -> None:
        total = scratch.row(_P1).load(j, width)
        odd = (total - total).differs(total.full(0))
        count = code.variable(n.as_float().repeat(width))
        with code.when(code.any(odd)):
            _sum_finite(code, x, n, stride, state, scratch, j, odd, count)
        before = state.load(j, width)
        *sums, low, high = scratch.load(j, width)
        after = _merge(before, _centered(count.get(), sums))
        state.store([*after, lesser(low, before[MIN]), greater(high, before[MAX])], j)

    sum_about_centers(code, _add_powers, x, n, stride, width, scratch, _WIDTHS)
    code.in_vectors(width, merge, _WIDTHS)


def _sum_finite(
    code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, scratch: Table, at: Int,
    odd: Vector, count: Variable,
) -> None:  # fmt: skip
    """Sum the powers of lanes some of whose elements are not finite, and count these."""
    width = odd.width
    zero, one = (scratch.numbers.full(number, width) for number in (0, 1))
    largest = zero.full(math.inf)
    sums = [code.variable(number) for number in (zero, zero, zero, largest, -largest)]
    counts = [code.variable(state.row(row).load(at, width)) for row in (N_NAN, N_PLUS, N_MINUS)]

    def value_at(i: Int) -> tuple[Vector, Vector]:
        value = x.load(i * stride + at, width).widen(zero)
        return value, (value - value).equals(zero)

    with code.loop(0, n) as i:
        value, is_finite = value_at(i)
        total, lost, number, low, high = (part.get() for part in sums)
        both, error = two_sum(total, value / value.full(SPAN))
        new = both, lost + error, number + one, lesser(value, low), greater(value, high)
        for part, after in zip(sums, new, strict=True):
            part.set(is_finite.choose(after, part.get()))
        kinds = value.differs(value), value.equals(largest), value.equals(-largest)
        for part, kind in zip(counts, kinds, strict=True):
            part.set(part.get() + kind.choose(one, zero))
    total, lost, number, low, high = (part.get() for part in sums)
    mean = (total + lost) / greater(one, number) * zero.full(SPAN)
    powers = [code.variable(zero) for _ in range(4)]
    with code.loop(0, n) as i:
        value, is_finite = value_at(i)
        d = value - mean
        for part, power in zip(powers, (d, d * d, d * d * d, (d * d) * (d * d)), strict=True):
            part.set(is_finite.choose(part.get() + power, part.get()))
    first, *others = (part.get() for part in powers)
    first = (first - first).equals(zero).choose(first, zero)  # overflows; the center is the mean
    found = [mean, first, *others, low, high]
    before = scratch.load(at, width)
    scratch.store([odd.choose(*pair) for pair in zip(found, before, strict=True)], at)
    count.set(odd.choose(number, count.get()))
    for row, part in zip((N_NAN, N_PLUS, N_MINUS), counts, strict=True):
        state.row(row).store(part.get(), at)


def _centered(n: Vector, sums: Sequence[Vector]) -> list[Vector]:
    """Turn the powers about a center into those about the mean: from TOTAL to M4."""
    center, p1, p2, p3, p4 = sums
    two, three, four, six = (n.full(number) for number in (2, 3, 4, 6))
    d = p1 / greater(n.full(1), n)
    total, error = exact_product(n, center)
    about_mean = p2 - d * p1
    return [
        total, error + p1, n, greater(n.full(0), about_mean).or_infinity(),
        p3 - three * d * p2 + two * d * d * p1,
        p4 - four * d * p3 + six * d * d * p2 - three * d * d * d * p1,
    ]  # fmt: skip


def _fold(a: Sequence[Vector], b: Sequence[Vector]) -> Sequence[Vector]:
    extrema = lesser(b[MIN], a[MIN]), greater(b[MAX], a[MAX])
    counts = (one + other for one, other in zip(a[N_NAN:], b[N_NAN:], strict=True))
    return *_merge(a, b), *extrema, *counts


SUMMARY = Family(
    "summary", 11, in_spans(_add_span), _fold, n_scratch=7, n_rows=SPAN, n_lanes=LANES, width=LANES,
    widths=_WIDTHS,
)  # fmt: skip
