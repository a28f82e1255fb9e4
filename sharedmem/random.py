"""Random numbers in arrays, the same for any number of workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.arrays.chunks import bytes_a_chunk, chunks
from sharedmem.arrays.constructors import empty
from sharedmem.arrays.conversion import check_plain, read_only
from sharedmem.arrays.shared_array import check_dtype, populate
from sharedmem.engine.operands import check_target, in_memory
from sharedmem.kernels.random import distributions, permutations, poisson as poisson_kernels
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]
Size = int | Sequence[int] | None
Seed = int | Sequence[int] | np.random.SeedSequence | None
Filler = Callable[..., None]
Key = tuple[np.uint64, np.uint64, np.uint64]

# What a task of a permutation makes, in a quarter of a millisecond or longer.
_CHUNK_BYTES = 2 << 20
# An element takes several times as long to make as to read.
_WORK = 4

# Each distribution has a stream of its own: numbers of two of them never share their bits.
_UNIFORM, _INTEGERS, _NORMAL, _EXPONENTIAL, _POISSON, _BUCKETS, _SHUFFLES = range(7)

# What is shuffled stays in the second cache, and the counts of buckets are few beside the items.
_BUCKET_ITEMS = 1 << 15
_MAX_BUCKETS, _MAX_CHUNKS = 1 << 14, 64

_MAX_LAM = 2.0**63 - 10 * 2.0**31.5


def uniform(
    low: float = 0.0,
    high: float = 1.0,
    size: Size = None,
    *,
    dtype: DTypeLike | None = None,
    seed: Seed = None,
    out: Array | None = None,
) -> Any:
    """Return numbers that are uniform in [low, high).

    Parameters
    ----------
    low, high : float, optional
        The bounds, which are rounded to `dtype`. `high` does not occur, unless it is `low`.
    size : int or sequence of int, optional
        Shape of the result.
    dtype : dtype, optional
        float64, which has 53 random bits, or float32, which has 24. By default that of `out`, or
        float64.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        The same seed gives the same numbers. By default it is fresh.
    out : ndarray, optional
        Where the numbers go: a shared or private array of any strides.

    Returns
    -------
    SharedArray, `out`, or a scalar if neither `size` nor `out` is given

    Raises
    ------
    ValueError
        If `high` is less than `low`, or `out` is read-only or not of shape `size`.
    OverflowError
        If ``high - low`` is not finite.
    TypeError
        If a bound is an array, or for another dtype.

    Notes
    -----
    Element i, in C order, depends on the seed and on i alone, so that neither workers nor the
    strides of `out` make a difference. Its bits come from the counter-based generator
    Philox4x32-10 [1]_. Other distributions of the same seed take other bits.

    References
    ----------
    .. [1] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Parallel random numbers: as easy as
       1, 2, 3, SC11 (2011).

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.random.uniform(-1, 1, (2, 3), seed=7)
    >>> bool((abs(a) <= 1).all())
    True
    >>> bool((a[0] == sharedmem.random.uniform(-1, 1, 3, seed=7)).all())
    True
    """
    target = _target(size, _type_of(dtype, out, np.float64), out, "f")
    number = target.dtype.type
    with np.errstate(all="ignore"):
        first, stop = number(_number("low", low)), number(_number("high", high))
        width = stop - first
    if not math.isfinite(width):
        raise OverflowError(f"high - low is not finite: low={low}, high={high}")
    if width < 0:
        raise ValueError(f"high - low < 0: low={low}, high={high}")
    last = max(first, np.nextafter(stop, number(-np.inf)))
    kernel = distributions.uniform if number is np.float64 else distributions.uniform_of_float32
    return _fill(kernel, target, (first, width, last), _key(seed, _UNIFORM), size, out)


def integers(
    low: int,
    high: int | None = None,
    size: Size = None,
    dtype: DTypeLike | None = None,
    endpoint: bool = False,
    *,
    seed: Seed = None,
    out: Array | None = None,
) -> Any:
    """Return integers, each of which is equally likely, from `low` on and below `high`.

    Parameters
    ----------
    low : int
        The smallest integer; the bound above, from 0 on, if `high` is not given.
    high : int, optional
        The bound above.
    size, seed, out
        As for :func:`uniform`.
    dtype : dtype, optional
        Any type of integers, or bool; by default that of `out`, or int64.
    endpoint : bool, optional
        Whether the bound above may occur.

    Returns
    -------
    SharedArray, `out`, or a scalar if neither `size` nor `out` is given

    Raises
    ------
    ValueError
        If there is no such integer, or `dtype` does not have all of them.
    TypeError
        If a bound is no integer, or for another dtype.

    Notes
    -----
    By Lemire's method, with rejection: there is no bias. See :func:`uniform`.

    Examples
    --------
    >>> import sharedmem
    >>> dice = sharedmem.random.integers(1, 6, 1000, endpoint=True, seed=7)
    >>> int(dice.min()), int(dice.max())
    (1, 6)
    """
    target = _target(size, _type_of(dtype, out, np.int64), out, "biu")
    first, stop = (0, low) if high is None else (low, high)
    first, last = _integer("low", first), _integer("high", stop) - (not endpoint)
    kind = target.dtype
    smallest, largest = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    if first < smallest:
        raise ValueError(f"low is out of bounds for {kind}: {first} < {smallest}")
    if last > largest:
        raise ValueError(f"high is out of bounds for {kind}: {last} > {largest}")
    if last < first:
        raise ValueError(f"no integer is from low={first} to the bound high={stop}")
    kernel, parameters = distributions.integers(first, last - first + 1)
    return _fill(kernel, target, parameters, _key(seed, _INTEGERS), size, out)


def normal(
    loc: float = 0.0,
    scale: float = 1.0,
    size: Size = None,
    *,
    dtype: DTypeLike | None = None,
    seed: Seed = None,
    out: Array | None = None,
) -> Any:
    """Return numbers from the normal distribution.

    Parameters
    ----------
    loc, scale : float, optional
        Mean and standard deviation.
    size, seed, out
        As for :func:`uniform`.
    dtype : dtype, optional
        float64 or float32, for which the numbers of float64 are rounded. By default that of `out`,
        or float64.

    Returns
    -------
    SharedArray, `out`, or a scalar if neither `size` nor `out` is given

    Raises
    ------
    ValueError
        If `scale` is negative.
    TypeError
        If a parameter is an array, or for another dtype.

    Notes
    -----
    By the ziggurat of Marsaglia and Tsang (2000), with 1024 layers. See :func:`uniform`.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.random.normal(10, 2, 100_000, seed=7)
    >>> print(f"{a.mean():.1f} {a.std():.1f}")
    10.0 2.0
    """
    target = _target(size, _type_of(dtype, out, np.float64), out, "f")
    parameters = (_number("loc", loc), _scale(scale), *distributions.normal_tables())
    return _fill(distributions.normal, target, parameters, _key(seed, _NORMAL), size, out)


def exponential(
    scale: float = 1.0,
    size: Size = None,
    *,
    dtype: DTypeLike | None = None,
    seed: Seed = None,
    out: Array | None = None,
) -> Any:
    """Return numbers from the exponential distribution.

    Parameters
    ----------
    scale : float, optional
        The mean.
    size, dtype, seed, out
        As for :func:`normal`.

    Returns
    -------
    SharedArray, `out`, or a scalar if neither `size` nor `out` is given

    Raises
    ------
    ValueError
        If `scale` is negative.
    TypeError
        If `scale` is an array, or for another dtype.

    Notes
    -----
    By the ziggurat of Marsaglia and Tsang (2000), with 1024 layers. See :func:`uniform`.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.random.exponential(3, 100_000, seed=7)
    >>> print(f"{a.mean():.1f}")
    3.0
    """
    target = _target(size, _type_of(dtype, out, np.float64), out, "f")
    parameters = (0.0, _scale(scale), *distributions.exponential_tables())
    return _fill(distributions.exponential, target, parameters, _key(seed, _EXPONENTIAL), size, out)


def poisson(
    lam: float = 1.0, size: Size = None, *, seed: Seed = None, out: Array | None = None
) -> Any:
    """Return integers from the Poisson distribution.

    Parameters
    ----------
    lam : float, optional
        The mean.
    size, seed
        As for :func:`uniform`.
    out : ndarray of int64, optional
        Where the numbers go: a shared or private array of any strides.

    Returns
    -------
    SharedArray of int64, `out`, or a scalar if neither `size` nor `out` is given

    Raises
    ------
    ValueError
        If `lam` is negative, NaN, or so large that int64 does not have the numbers.
    TypeError
        If `lam` is an array, or `out` of another dtype.

    Notes
    -----
    Up to a mean of 256 by inversion, and above by Hoermann's transformed rejection (1993). See
    :func:`uniform`.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.random.poisson(4.5, 100_000, seed=7)
    >>> print(f"{a.mean():.1f} {a.var():.1f}")
    4.5 4.5
    """
    target = _target(size, np.dtype(np.int64), out, "i")
    mean = _number("lam", lam)
    if not mean >= 0:
        raise ValueError(f"lam < 0 or lam is NaN: {lam}")
    if mean > _MAX_LAM:
        raise ValueError(f"lam value too large: {lam} > {_MAX_LAM:.17g}")
    kernel, parameters = poisson_kernels.poisson(mean)
    return _fill(kernel, target, parameters, _key(seed, _POISSON), size, out)


def permutation(x: int | ArrayLike, *, seed: Seed = None) -> Array:
    """Return a sequence, or the integers below a number, in random order.

    Parameters
    ----------
    x : int or array_like
        The array is copied, in another order along its first axis. An integer stands for
        ``numpy.arange(x)``.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        As for :func:`uniform`.

    Returns
    -------
    SharedArray
        All orders are equally likely. ``permutation(a, seed=s)`` is
        ``a[permutation(len(a), seed=s)]``.

    Raises
    ------
    AxisError
        If `x` is a scalar, and no integer.
    TypeError
        If `x` holds Python objects.

    Notes
    -----
    Items are scattered into random buckets, each of which is then shuffled in cache [1]_.

    References
    ----------
    .. [1] P. Sanders, Random permutations on distributed, external and hierarchical memory, Inf.
       Process. Lett. 67 (1998).

    Examples
    --------
    >>> import sharedmem
    >>> sorted(sharedmem.random.permutation(5, seed=7).tolist())
    [0, 1, 2, 3, 4]
    """
    if isinstance(x, int | np.integer):
        n = max(int(x), 0)
        return _permuted(lambda part: np.arange(part.start, part.stop), n, np.int64, seed)
    values = in_memory(x)
    check_dtype(values.dtype)
    if values.ndim == 0:
        raise np.exceptions.AxisError(0, 0)
    if values.ndim == 1 and values.itemsize in (1, 2, 4, 8):
        bits = values.view(f"u{values.itemsize}")
        return _permuted(bits.__getitem__, len(bits), bits.dtype, seed).view(values.dtype)
    order = permutation(len(values), seed=seed)
    out = empty(values.shape, values.dtype)
    plain = np.asarray(out)

    def take(chunk: tuple[slice, ...]) -> None:
        populate(plain[chunk])
        np.take(values, order[chunk], axis=0, out=plain[chunk], mode="clip")

    run = current_pool().runner.run(out.nbytes)
    run(take, chunks(out, nbytes=bytes_a_chunk(out.nbytes)))
    return out


def _permuted(items: Callable[[slice], Array], n: int, dtype: DTypeLike, seed: Seed) -> Array:
    """Permute `n` items, of which ``items(slice)`` gives some."""
    seed = _sequence(seed)
    buckets_key, shuffles_key = _key(seed, _BUCKETS), _key(seed, _SHUFFLES)
    n_buckets = min(1 << max(n // _BUCKET_ITEMS, 1).bit_length() - 1, _MAX_BUCKETS)
    shift = 33 - n_buckets.bit_length()
    out = empty(n, dtype)
    plain = np.asarray(out)
    grid = chunks(n, size=max(_CHUNK_BYTES // 8, -(-n // _MAX_CHUNKS)))
    run = current_pool().runner.run(_WORK * out.nbytes)
    counts = np.empty((len(grid), n_buckets), np.int64)

    def count(index: int) -> None:
        (part,) = grid[index]
        populate(plain[part])
        permutations.count(counts[index], part.start, part.stop - part.start, shift, buckets_key)

    run(count, range(len(grid)))
    places = np.cumsum(counts.T).reshape(n_buckets, len(grid)).T - counts
    bounds = np.append(0, np.cumsum(counts.sum(axis=0)))

    def scatter(index: int) -> None:
        (part,) = grid[index]
        some = read_only(np.ascontiguousarray(items(part)))
        permutations.scatter(some, part.start, shift, buckets_key, places[index].copy(), plain)

    def shuffle(bucket: int) -> None:
        start, stop = int(bounds[bucket]), int(bounds[bucket + 1])
        permutations.shuffle(plain[start:stop], start, shuffles_key)

    run(scatter, range(len(grid)))
    run(shuffle, range(n_buckets))
    return out


def _fill(
    kernel: Filler, target: Array, parameters: tuple[Any, ...], key: Key, size: Size, out: Any
) -> Any:
    """Fill `target` chunk by chunk, and return what the user gets."""
    plain = np.asarray(target)
    kind, byteorder = plain.dtype.kind, plain.dtype.byteorder
    bits = plain.view(f"{byteorder}u{plain.itemsize}") if kind in "bi" else plain
    grid = chunks(bits, range(bits.ndim), nbytes=bytes_a_chunk(bits.nbytes))
    steps = [math.prod(bits.shape[axis + 1 :]) for axis in range(bits.ndim)]

    def fill(chunk: Any) -> None:
        part = bits[(*chunk, ...)]
        first = sum(start * step for start, step in zip(chunk.start, steps, strict=True))
        populate(part)
        if part.flags.carray and part.dtype.isnative:
            kernel(part.reshape(-1), first, key, parameters)
        else:
            values = np.empty(part.shape, part.dtype.newbyteorder("="))
            kernel(values.reshape(-1), first, key, parameters)
            part[...] = values

    current_pool().runner.run(_WORK * bits.nbytes)(fill, grid)
    return target[()] if size is None and out is None else target


def _target(size: Size, dtype: np.dtype[Any], out: Any, kinds: str) -> Array:
    """Return the array to fill, of a type that is among `kinds`."""
    if dtype.kind not in kinds or (dtype.kind == "f" and dtype.itemsize not in (4, 8)):
        raise TypeError(f"no random numbers of dtype {dtype} are made by this distribution")
    if out is None:
        return np.empty((), dtype) if size is None else empty(size, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    if out.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise TypeError(f"out has dtype {out.dtype}, and the numbers {dtype}")
    check_target(out, "out")
    if size is not None and np.broadcast_shapes(size) != out.shape:
        raise ValueError(f"size {size} and the shape of out, {out.shape}, differ")
    return out


def _type_of(dtype: DTypeLike | None, out: Any, default: DTypeLike) -> np.dtype[Any]:
    if dtype is None:
        dtype = out.dtype if isinstance(out, np.ndarray) else default
    return np.dtype(dtype)


def _number(name: str, value: Any) -> float:
    check_plain(value)
    if np.ndim(value):
        raise TypeError(f"{name} must be one number, got an array of shape {np.shape(value)}")
    return float(value)


def _scale(value: Any) -> float:
    scale = _number("scale", value)
    if math.copysign(1.0, scale) < 0 and not math.isnan(scale):
        raise ValueError(f"scale < 0: {value}")
    return scale


def _integer(name: str, value: Any) -> int:
    check_plain(value)
    if np.ndim(value) or value != int(value):
        raise TypeError(f"{name} must be one integer, got {value!r}")
    return int(value)


def _sequence(seed: Seed) -> np.random.SeedSequence:
    return seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)


def _key(seed: Seed, stream: int) -> Key:
    """Return the key of the generator, and a word of its counter."""
    k0, k1, nonce = (int(word) for word in _sequence(seed).generate_state(3))
    return np.uint64(k0), np.uint64(k1), np.uint64((nonce + stream) % 2**32)
