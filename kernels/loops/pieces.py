"""Reductions by line kernels: cut into pieces, whose work threads share."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels import machine_code
from sharedmem.kernels.loops.columns import emit_columns
from sharedmem.kernels.loops.formulas import Elements, Formula
from sharedmem.kernels.loops.lanes import LANES
from sharedmem.kernels.loops.layout import Array, address_of, as_numbers, is_whole, strided
from sharedmem.kernels.loops.lines import N_WORDS, WIDTH, Family, Form, emit_fold
from sharedmem.kernels.loops.memory import kind_of
from sharedmem.kernels.loops.rows import BATCH, emit_rows
from sharedmem.kernels.machine_code import Share, compile_text
from sharedmem.kernels.reduction import LineReduction, State

# The number of elements of a long line in a piece, which one thread reduces: threads end together.
PIECE = 1 << 15
# The number of elements of long columns in a piece: at least HEIGHT per column, so that there are
# few states, and at most WIDTH columns, so that memory is read in long runs.
AREA, HEIGHT = 1 << 17, 256


class KernelSpec(NamedTuple):
    """A family of formulas, and the types that it is compiled for.

    Attributes
    ----------
    family : Family
    identity : tuple of float
        The initial value of each part of a state.
    dtype : dtype
        The type of the states.
    result : dtype, optional
        The type of the results, by default that of the states.
    setting : float
        The argument of ``family.finish``.
    """

    family: Family
    identity: tuple[float, ...]
    dtype: DTypeLike
    result: DTypeLike | None = None
    setting: float = 0


Emit = Callable[[Sequence[Form]], list[str]]
SpecMaker = Callable[..., KernelSpec]


def by_kernel(
    make_spec: SpecMaker,
    arguments: tuple[Any, ...],
    dtype: np.dtype[Any],
    combine: Callable[[State, State], State],
    finalize: Callable[[State], Any],
    finishes: bool = True,
) -> LineReduction:
    """Return the reduction of elements of `dtype` by a kernel.

    Parameters
    ----------
    make_spec : callable
        ``make_spec(*arguments)`` returns the :class:`KernelSpec`. A cached function of a module:
        reductions are pickled by its name, without kernels, which other processes would compile.
    arguments : tuple
    dtype : dtype
    combine, finalize : callable
        See :class:`~sharedmem.kernels.reduction.Reduction`.
    finishes : bool
        Whether the kernel also computes the results.
    """
    spec, whole = make_spec(*arguments), is_whole(dtype)
    return LineReduction(
        partial(reduce_chunk, make_spec, arguments),
        combine,
        finalize,
        spec.identity,
        whole=whole,
        direct=partial(_finish_chunk, make_spec, arguments) if whole and finishes else None,
        spec=partial(spec_of, make_spec, arguments) if whole and finishes else None,
    )


def spec_of(make_spec: SpecMaker, arguments: tuple[Any, ...], n: int) -> KernelSpec:
    """Return ``make_spec(*arguments)``, for lines of any length `n`."""
    return make_spec(*arguments)


def reduce_chunk(
    make_spec: SpecMaker, arguments: tuple[Any, ...], x: Array, share: Share | None = None
) -> State:
    """Call :func:`reduce_lines` with ``make_spec(*arguments)``."""
    return reduce_lines(make_spec(*arguments), x, share)


def _finish_chunk(
    make_spec: SpecMaker, arguments: tuple[Any, ...], x: Array, share: Share | None = None
) -> Array:
    return finish_lines(make_spec(*arguments), x, share)


def reduce_lines(spec: KernelSpec, x: Array, share: Share | None = None) -> State:
    """Reduce the middle axis of `x` to states.

    Parameters
    ----------
    spec : KernelSpec
    x : ndarray, shape (n_outer, n, n_inner)
        Of a dtype that kernels support, and any strides. `n` is at least one. A complex element
        counts as two neighbors.
    share : callable, optional
        Calls the kernel in several threads, which share the work.

    Returns
    -------
    tuple of ndarray, each of shape (n_outer, n_inner)
    """
    x = as_numbers(x)
    n_outer, _, n_inner = x.shape
    state, _ = _reduce(spec, x, share, finishes=False)
    return tuple(state[:, : n_outer * n_inner].reshape(len(state), n_outer, n_inner))


def finish_lines(spec: KernelSpec, x: Array, share: Share | None = None) -> Array:
    """Reduce the middle axis of `x` to results.

    Parameters
    ----------
    spec, x, share
        As for :func:`reduce_lines`.

    Returns
    -------
    ndarray, shape (n_outer, n_inner)
    """
    x = as_numbers(x)
    n_outer, _, n_inner = x.shape
    _, out = _reduce(spec, x, share, finishes=True)
    return out.reshape(n_outer, n_inner)


def reduce_together(
    specs: Sequence[KernelSpec],
    values: Sequence[Elements | Array],
    shape: tuple[int, int, int],
    share: Share | None = None,
) -> list[Array]:
    """Reduce the middle axis of several arrays to results, in one pass over all of them.

    Parameters
    ----------
    specs : sequence of KernelSpec
    values : sequence of Elements or ndarray
        The elements that each of them reduces. All arrays that are read have as many elements, are
        C-contiguous, and of dtypes that kernels take as they are.
    shape : tuple of int
        The shape of all of them: (n_outer, n, n_inner). `n` is at least one.
    share : callable, optional
        Calls the kernel in several threads, which share the work.

    Returns
    -------
    list of ndarray, each of shape (n_outer, n_inner)
        What :func:`finish_lines` returns of arrays that hold the elements.
    """
    n_outer, n, n_inner = shape
    emit, cut = _cut(n_outer, n, n_inner, is_contiguous=True)
    forms, words, kept = [], [], []
    for spec, value in zip(specs, values, strict=True):
        state, out, ends = _room(spec, n_outer * n_inner, cut, finishes=True)
        if isinstance(value, Elements):
            formula, dtype = value.formula, value.formula.dtype
            x = np.array([address_of(array) for array in value.arrays], np.uintp)
        else:
            formula, dtype, x = None, value.dtype, value
        forms.append((spec.family, spec.identity, dtype, state.dtype, out.dtype, formula))
        one = address_of(x), n_outer, n * n_inner, n, n_inner, n_inner, *cut, *ends
        words += [*one, *[0] * (N_WORDS - len(one))]
        kept.append((x, state, out))
    block = (ctypes.c_int64 * len(words))(*words)
    (share or machine_code.alone)(_code_together(emit, *forms), ctypes.addressof(block))
    return [out.reshape(n_outer, n_inner) for _, _, out in kept]


def combine_states(spec: KernelSpec, a: Sequence[Array], b: Sequence[Array]) -> State:
    """Combine each state of `a` with the state of `b` at its place."""
    n, shape = a[0].size, a[0].shape
    pairs = [[*pair] for pair in zip(a, b, strict=True)]
    state = np.array(pairs, spec.dtype).reshape(len(a), -1)
    block = _block((0, n, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, address_of(state)))
    code = _code(emit_fold, spec.family, spec.identity, *3 * (state.dtype,))
    machine_code.alone(code, ctypes.addressof(block))
    return tuple(part[:n].reshape(shape) for part in state)


def _reduce(spec: KernelSpec, x: Array, share: Share | None, finishes: bool) -> tuple[Array, Array]:
    """Return the states, and, if it `finishes`, the results."""
    n_outer, n, n_inner = x.shape
    x, outer_stride, stride = strided(x)
    emit, cut = _cut(n_outer, n, n_inner, stride == n_inner)
    state, out, ends = _room(spec, n_outer * n_inner, cut, finishes)
    code = _code(emit, spec.family, spec.identity, x.dtype, state.dtype, out.dtype)
    block = _block((address_of(x), n_outer, outer_stride, n, stride, n_inner, *cut, *ends))
    (share or machine_code.alone)(code, ctypes.addressof(block))
    return state, out


def _room(
    spec: KernelSpec, n_lines: int, cut: Cut, finishes: bool
) -> tuple[Array, Array, tuple[int, int, int]]:
    """Return memory for states and, if it `finishes`, results, and the last words of a block."""
    n_pieces = cut[-1]
    is_direct = finishes and n_pieces == 1
    state = np.empty((len(spec.identity), 0 if is_direct else n_pieces * n_lines), spec.dtype)
    out = np.empty(n_lines if finishes else 0, spec.result or spec.dtype)
    at, to = 0 if is_direct else address_of(state), address_of(out) if finishes else 0
    return state, out, (at, to, _bits(spec.setting))


def line_call(
    spec: KernelSpec, dtype: np.dtype[Any], n: int
) -> tuple[machine_code.Code, list[int], int]:
    """Return how a line of `n` contiguous elements of `dtype` is reduced to a result.

    Returns
    -------
    code : Code
        The kernel.
    words : list of int
        Its block, without the addresses of arrays: `X`, `OUT`, and `STATE`.
    n_bytes : int
        The size of the states, for which `STATE` is the address; 0 if there are none.
    """
    family, identity, state, result, setting = spec
    cut = _cut_rows(1, n)
    n_pieces = cut[-1]
    dtypes = dtype, np.dtype(state), np.dtype(result or state)
    code = _code(emit_rows, family, identity, *dtypes)
    words = [0, 1, n, n, 1, 1, *cut, 0, 0, _bits(setting)]
    words += [0] * (N_WORDS - len(words))
    n_bytes = len(identity) * n_pieces * dtypes[1].itemsize
    return code, words, n_bytes if n_pieces > 1 else 0


def _block(words: Sequence[int]) -> Any:
    return (ctypes.c_int64 * N_WORDS)(*words)


def _bits(number: float) -> int:
    """Return the bits of a float64."""
    (bits,) = struct.unpack("q", struct.pack("d", number))
    return int(bits)


@cache
def _code(emit: Emit, *form: Any) -> machine_code.Code:
    """Return the machine code of a kernel for the arguments of :func:`_form`."""
    return _compiled(emit, form)


# Code with formulas that hold addresses is freed when it is forgotten.
@lru_cache(256)
def _code_together(emit: Emit, *forms: tuple[Any, ...]) -> machine_code.Code:
    """Return the machine code of a kernel for several forms."""
    return _compiled(emit, *forms)


def _compiled(emit: Emit, *forms: tuple[Any, ...]) -> machine_code.Code:
    """Return the machine code of a kernel, compiled now if it is in no file."""

    def texts() -> list[str]:
        return emit([_form(*form) for form in forms])

    formulas = [formula for *_, formula in forms if isinstance(formula, Formula)]
    if not all(formula.is_lasting for formula in formulas):
        return machine_code.assemble(*texts())
    families = "+".join({family.name: None for family, *_ in forms})
    name = f"{emit.__name__.removeprefix('emit_')}-{families:.100}"
    key = [(family.name, repr(identity), *map(_name, rest)) for family, identity, *rest in forms]
    return machine_code.load(name, (name, *map(str, key)), lambda: compile_text(*texts()))


def _form(
    family: Family,
    identity: tuple[float, ...],
    x: np.dtype[Any],
    state: np.dtype[Any],
    result: np.dtype[Any],
    formula: Formula | None = None,
) -> Form:
    return Form(family, identity, kind_of(x), kind_of(state), kind_of(result), formula)


def _name(part: np.dtype[Any] | Formula | None) -> str:
    return part.name if isinstance(part, Formula) else str(part)


def piece_length(n: int, n_inner: int) -> int:
    """Return the number of elements of a line in a piece; the last one of a line may be shorter."""
    if n_inner == 1:
        return min(n, PIECE)
    return min(n, max(HEIGHT, AREA // min(n_inner, WIDTH)))


# The words of a block from LENGTH to N_PIECES.
Cut = tuple[int, int, int, int, int, int]


def _cut(n_outer: int, n: int, n_inner: int, is_contiguous: bool) -> tuple[Emit, Cut]:
    """Return what emits the kernel for arrays of a shape, and how they are cut into pieces."""
    if n_inner == 1:
        return emit_rows, _cut_rows(n_outer, n)
    return emit_columns, _cut_columns(n_outer, n, n_inner, is_contiguous)


def _cut_rows(n_outer: int, n: int) -> Cut:
    longest = piece_length(n, 1)
    n_pieces = -(-n // longest)
    grain = 1 if n_pieces > 1 else max(1, AREA // n)
    batch = min(BATCH, grain)
    return longest, batch, 1, grain // batch * batch, n_outer * n_pieces, n_pieces


def _cut_columns(n_outer: int, n: int, n_inner: int, is_contiguous: bool) -> Cut:
    groups = 1
    while is_contiguous and 2 * groups * n_inner <= LANES and 16 * groups <= n:
        groups *= 2
    block, height = min(n_inner, WIDTH), piece_length(n, n_inner)
    n_pieces = -(-n // height)
    n_tasks = n_outer * n_pieces * -(-n_inner // block)
    return height, block, groups, max(1, AREA // (height * block)), n_tasks, n_pieces
