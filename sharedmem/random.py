"""Random numbers in arrays, which do not depend on the number of workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.arrays.constructors import empty
from sharedmem.arrays.conversion import check_plain
from sharedmem.arrays.shared_array import check_dtype
from sharedmem.engine.operands import check_target, in_memory
from sharedmem.engine.random_numbers import Kernel, Key, fill, permute
from sharedmem.kernels.quiet import quiet
from sharedmem.kernels.random import distributions, poisson as poisson_kernels
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

Array = NDArray[Any]
Size = int | Sequence[int] | None
Seed = int | Sequence[int] | np.random.SeedSequence | None

# Each distribution has a stream of its own, so that two of them never share random bits.
_UNIFORM, _INTEGERS, _NORMAL, _EXPONENTIAL, _POISSON, _BUCKETS, _SHUFFLES = range(7)

_MAX_LAM = 2.0**63 - 10 * 2.0**31.5

_SUPPORTED = {"f": "float64 or float32", "biu": "an integer type or bool"}


def uniform(
    low: float = 0.0,
    high: float = 1.0,
    size: Size = None,
    *,
    dtype: DTypeLike | None = None,
    seed: Seed = None,
    out: Array | None = None,
) -> Any:
    """Draw samples from the uniform distribution over [low, high).

    Parameters
    ----------
    low, high : float, optional
        Bounds, which are rounded to `dtype`. `high` is never drawn, unless it equals `low`.
    size : int or sequence of int, optional
        Shape of the result. By default that of `out`, or a scalar.
    dtype : dtype, optional
        Either float64, whose samples have 53 random bits, or float32, whose samples have 24. By
        default that of `out`, or float64.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Seed of the generator: equal seeds give equal samples. By default a fresh one from the
        operating system.
    out : ndarray, optional
        Array for the result: shared or private, with any strides.

    Returns
    -------
    SharedArray, ndarray or scalar
        The samples, or `out`. A scalar if neither `size` nor `out` is given.

    Raises
    ------
    ValueError
        If `high` is less than `low`, or `out` is read-only or not of shape `size`.
    OverflowError
        If ``high - low`` is not finite.
    TypeError
        If a bound is an array, or the dtype is not supported or not that of `out`.

    See Also
    --------
    integers : Return random integers.
    normal : Draw from a normal distribution.

    Notes
    -----
    Element i, in C order, depends only on the seed and on i, not on the number of workers or the
    strides of `out`. Its bits come from the counter-based generator Philox4x32-10 [1]_. Other
    distributions use other bits of the same seed.

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
    target = _target(size, dtype, out, np.float64, "f")
    number = target.dtype.type
    first, stop, width = _range(number, _number("low", low), _number("high", high))
    if not math.isfinite(width):
        raise OverflowError(f"high - low is not finite: low={low}, high={high}; give closer bounds")
    if width < 0:
        raise ValueError(f"low={low} is greater than high={high}; give low <= high")
    last = max(first, np.nextafter(stop, number(-np.inf)))
    kernel = distributions.uniform if number is np.float64 else distributions.uniform_of_float32
    return _draw(kernel, target, (first, width, last), _key(seed, _UNIFORM), size, out)


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
    """Return random integers in [low, high), or in [low, high] with `endpoint`.

    Parameters
    ----------
    low : int
        Smallest integer. If `high` is not given, this is the upper bound, and the lower is 0.
    high : int, optional
        Upper bound.
    size : int or sequence of int, optional
        Shape of the result. By default that of `out`, or a scalar.
    dtype : dtype, optional
        Any integer type, or bool. By default that of `out`, or int64.
    endpoint : bool, optional
        Whether the upper bound may be drawn.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Seed of the generator: equal seeds give equal samples. By default a fresh one from the
        operating system.
    out : ndarray, optional
        Array for the result: shared or private, with any strides.

    Returns
    -------
    SharedArray, ndarray or scalar
        The integers, all equally likely, or `out`. A scalar if neither `size` nor `out` is given.

    Raises
    ------
    ValueError
        If [low, high) is empty, or has integers that do not fit into `dtype`.
    TypeError
        If a bound is not an integer, or if `dtype` is not supported or not the dtype of `out`.

    See Also
    --------
    uniform : Draw floating-point numbers.
    permutation : Permute a sequence.

    Notes
    -----
    Lemire's method with rejection: the integers have no bias. See :func:`uniform`.

    Examples
    --------
    >>> import sharedmem
    >>> dice = sharedmem.random.integers(1, 6, 1000, endpoint=True, seed=7)
    >>> int(dice.min()), int(dice.max())
    (1, 6)
    """
    target = _target(size, dtype, out, np.int64, "biu")
    first, stop = (0, low) if high is None else (low, high)
    first, last = _integer("low", first), _integer("high", stop) - (not endpoint)
    kind = target.dtype
    smallest, largest = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    if first < smallest:
        raise ValueError(f"low is out of bounds for {kind}: {first} < {smallest}")
    if last > largest:
        raise ValueError(f"high is out of bounds for {kind}: {last} > {largest}")
    if last < first:
        raise ValueError(f"there is no integer from low={first} to the bound high={stop}")
    kernel, parameters = distributions.integers(first, last - first + 1)
    return _draw(kernel, target, parameters, _key(seed, _INTEGERS), size, out)


def normal(
    loc: float = 0.0,
    scale: float = 1.0,
    size: Size = None,
    *,
    dtype: DTypeLike | None = None,
    seed: Seed = None,
    out: Array | None = None,
) -> Any:
    """Draw samples from a normal (Gaussian) distribution.

    Parameters
    ----------
    loc : float, optional
        Mean of the distribution.
    scale : float, optional
        Standard deviation of the distribution.
    size : int or sequence of int, optional
        Shape of the result. By default that of `out`, or a scalar.
    dtype : dtype, optional
        Either float64, or float32, whose samples are those of float64, rounded. By default that of
        `out`, or float64.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Seed of the generator: equal seeds give equal samples. By default a fresh one from the
        operating system.
    out : ndarray, optional
        Array for the result: shared or private, with any strides.

    Returns
    -------
    SharedArray, ndarray or scalar
        The samples, or `out`. A scalar if neither `size` nor `out` is given.

    Raises
    ------
    ValueError
        If `scale` is negative.
    TypeError
        If a parameter is an array, or the dtype is not supported or not that of `out`.

    See Also
    --------
    uniform : Draw from a uniform distribution.
    exponential : Draw from an exponential distribution.

    Notes
    -----
    The ziggurat method of Marsaglia and Tsang (2000). See :func:`uniform`.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.random.normal(10, 2, 100_000, seed=7)
    >>> print(f"{a.mean():.1f} {a.std():.1f}")
    10.0 2.0
    """
    target = _target(size, dtype, out, np.float64, "f")
    parameters = (_number("loc", loc), _scale(scale), *distributions.normal_tables())
    return _draw(distributions.normal, target, parameters, _key(seed, _NORMAL), size, out)


def exponential(
    scale: float = 1.0,
    size: Size = None,
    *,
    dtype: DTypeLike | None = None,
    seed: Seed = None,
    out: Array | None = None,
) -> Any:
    """Draw samples from an exponential distribution.

    Parameters
    ----------
    scale : float, optional
        Mean of the distribution.
    size : int or sequence of int, optional
        Shape of the result. By default that of `out`, or a scalar.
    dtype : dtype, optional
        Either float64, or float32, whose samples are those of float64, rounded. By default that of
        `out`, or float64.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Seed of the generator: equal seeds give equal samples. By default a fresh one from the
        operating system.
    out : ndarray, optional
        Array for the result: shared or private, with any strides.

    Returns
    -------
    SharedArray, ndarray or scalar
        The samples, or `out`. A scalar if neither `size` nor `out` is given.

    Raises
    ------
    ValueError
        If `scale` is negative.
    TypeError
        If `scale` is an array, or the dtype is not supported or not that of `out`.

    See Also
    --------
    normal : Draw from a normal distribution.
    poisson : Draw from a Poisson distribution.

    Notes
    -----
    The ziggurat method of Marsaglia and Tsang (2000). See :func:`uniform`.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.random.exponential(3, 100_000, seed=7)
    >>> print(f"{a.mean():.1f}")
    3.0
    """
    target = _target(size, dtype, out, np.float64, "f")
    parameters = (0.0, _scale(scale), *distributions.exponential_tables())
    return _draw(distributions.exponential, target, parameters, _key(seed, _EXPONENTIAL), size, out)


def poisson(
    lam: float = 1.0, size: Size = None, *, seed: Seed = None, out: Array | None = None
) -> Any:
    """Draw samples from a Poisson distribution.

    Parameters
    ----------
    lam : float, optional
        Mean of the distribution.
    size : int or sequence of int, optional
        Shape of the result. By default that of `out`, or a scalar.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Seed of the generator: equal seeds give equal samples. By default a fresh one from the
        operating system.
    out : ndarray of int64, optional
        Array for the result: shared or private, with any strides.

    Returns
    -------
    SharedArray of int64, ndarray or scalar
        The samples, or `out`. A scalar if neither `size` nor `out` is given.

    Raises
    ------
    ValueError
        If `lam` is negative, NaN, or so large that samples may not fit into int64.
    TypeError
        If `lam` is an array, or `out` has another dtype.

    See Also
    --------
    exponential : Draw from an exponential distribution.
    normal : Draw from a normal distribution.

    Notes
    -----
    Inversion for means up to 256, and Hoermann's transformed rejection (1993) above. See
    :func:`uniform`.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.random.poisson(4.5, 100_000, seed=7)
    >>> print(f"{a.mean():.1f} {a.var():.1f}")
    4.5 4.5
    """
    target = _target(size, np.int64, out, np.int64, "biu")
    mean = _number("lam", lam)
    if not 0 <= mean <= _MAX_LAM:
        raise ValueError(f"lam={lam} is out of bounds; give a mean from 0 to {_MAX_LAM:.17g}")
    kernel, parameters = poisson_kernels.poisson(mean)
    return _draw(kernel, target, parameters, _key(seed, _POISSON), size, out)


@one_call
def permutation(x: int | ArrayLike, *, seed: Seed = None) -> Array:
    """Randomly permute a sequence, or return a permuted range.

    Parameters
    ----------
    x : int or array_like
        An array is copied, and permuted along its first axis. An integer stands for
        ``numpy.arange(x)``.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Seed of the generator: equal seeds give equal samples. By default a fresh one from the
        operating system.

    Returns
    -------
    SharedArray
        The permuted array. All permutations are equally likely. ``permutation(a, seed=s)`` equals
        ``a[permutation(len(a), seed=s)]``.

    Raises
    ------
    AxisError
        If `x` is a scalar but not an integer.
    TypeError
        If `x` holds Python objects.

    See Also
    --------
    integers : Return random integers.

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
    from sharedmem.functions.selection import take  # which other functions do without

    out = empty(values.shape, values.dtype)
    take(values, permutation(len(values), seed=seed), 0, out, "clip")
    return out


def _permuted(items: Callable[[slice], Array], n: int, dtype: DTypeLike, seed: Seed) -> Array:
    """Return `n` items, some of which ``items(slice)`` returns, in random order."""
    out, seed = empty(n, dtype), _sequence(seed)
    run = current_pool().runner.run(tuning.random_reads * out.nbytes, moved=out.nbytes)
    permute(run, items, np.asarray(out), _key(seed, _BUCKETS), _key(seed, _SHUFFLES))
    return out


def _draw(
    kernel: Kernel, target: Array, parameters: tuple[Any, ...], key: Key, size: Size, out: Any
) -> Any:
    """Fill `target`, and return it, or a scalar if the user wants one."""
    run = current_pool().runner.run(tuning.random_reads * target.nbytes, moved=target.nbytes)
    fill(run, kernel, np.asarray(target), key, parameters)
    return target[()] if size is None and out is None else target


def _target(
    size: Size, dtype: DTypeLike | None, out: Array | None, default: DTypeLike, kinds: str
) -> Array:
    """Return the array to fill: `out`, or a new one, of a dtype of one of the `kinds`."""
    if dtype is None:
        dtype = out.dtype if isinstance(out, np.ndarray) else default
    dtype = np.dtype(dtype)
    if dtype.kind not in kinds or (dtype.kind == "f" and dtype.itemsize not in (4, 8)):
        raise TypeError(f"got dtype {dtype}; this distribution has {_SUPPORTED[kinds]}")
    if out is None:
        return np.empty((), dtype) if size is None else empty(size, dtype)
    check_target(out, "out")
    if out.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise TypeError(f"out has dtype {out.dtype}, but the result has {dtype}")
    if size is not None and np.broadcast_shapes(size) != out.shape:
        raise ValueError(f"size {size} and the shape of out, {out.shape}, differ; give one of them")
    return out


def _number(name: str, value: Any) -> float:
    check_plain(value)
    if np.ndim(value):
        raise TypeError(f"{name} must be one number, got an array of shape {np.shape(value)}")
    return float(value)


@quiet
def _range(number: type[Any], low: float, high: float) -> tuple[Any, Any, Any]:
    first, stop = number(low), number(high)
    return first, stop, stop - first


def _scale(value: Any) -> float:
    scale = _number("scale", value)
    if math.copysign(1.0, scale) < 0 and not math.isnan(scale):
        raise ValueError(f"scale={value} is negative; give a scale >= 0")
    return scale


def _integer(name: str, value: Any) -> int:
    check_plain(value)
    if np.ndim(value) or value != int(value):
        raise TypeError(f"{name} must be one integer, got {value!r}")
    return int(value)


def _sequence(seed: Seed) -> np.random.SeedSequence:
    return seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)


@quiet
def _key(seed: Seed, stream: int) -> Key:
    """Return the key of a stream of random bits."""
    k0, k1, nonce = (int(word) for word in _sequence(seed).generate_state(3))
    return np.uint64(k0), np.uint64(k1), np.uint64((nonce + stream) % 2**32)
