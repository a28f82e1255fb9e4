"""Reductions of groups of elements that have equal labels, on the pool in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.arrays.labels import check_aligned
from sharedmem.engine.group_reduce import GroupReduction
from sharedmem.engine.operands import as_array, common_shape, in_memory, is_dask, is_store
from sharedmem.engine.reduce import reduce
from sharedmem.engine.runners import run_serially
from sharedmem.engine.stored_groups import elements_at, reduce_stored_groups
from sharedmem.functions.group_labels import group_labels
from sharedmem.functions.group_lines import GroupedLines, grouped_lines
from sharedmem.functions.group_rules import NAMES, RULES, GroupRule, by_numpy
from sharedmem.functions.sorted_groups import SortedGroups
from sharedmem.kernels.reduction import Reduction, State
from sharedmem.machine.limits import NEGLIGIBLE_BYTES, available_memory
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

Array = NDArray[Any]
Func = str | Reduction


@one_call
def group_reduce(
    a: Any,
    /,
    *by: Any,
    func: Func | Sequence[Func] | Mapping[str, Func],
    expected_groups: Any = None,
    sort: bool = True,
    isbin: bool | tuple[bool, ...] = False,
    axis: int | tuple[int, ...] | None = None,
    fill_value: Any = None,
    min_count: int | None = None,
    dtype: DTypeLike | None = None,
    finalize_kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Reduce the elements of each group: those that have equal labels.

    The arguments are those of ``flox.groupby_reduce``.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The array. One in a file is read chunk by chunk; quantiles and reductions need it in memory.
    *by : array_like
        The labels of the elements along the last axes of `a`: integers, bools, floats, strings,
        datetimes, or objects. Several arrays are broadcast against each other; there is a group for
        each combination of their labels. NaN, NaT, None, and among integers -1 are missing labels:
        these elements are in no group.
    func : str, Reduction, or sequence or mapping of these
        ``"sum"``, ``"prod"``, ``"mean"``, ``"var"``, ``"std"``, ``"min"``, ``"max"``, ``"argmin"``,
        ``"argmax"``, ``"first"``, ``"last"``, ``"median"``, or ``"quantile"``, each also with the
        prefix ``"nan"``, by which NaN is ignored; ``"any"``, ``"all"``, or ``"count"``, the number
        of elements that are not NaN; or a reduction, which gets the elements of a group in order.
        The array is read once for several of them, but for quantiles and reductions.
    expected_groups : array_like, or tuple of these, optional
        For each `by`, the labels of the groups in their order, where other labels are missing; an
        integer n for the labels 0 to n-1; or the edges of bins. By default, the labels found.
    sort : bool, optional
        Whether labels that are found are sorted, by default True. Else they are in order of
        appearance.
    isbin : bool or tuple of bool, optional
        Whether `expected_groups` are the edges of bins, which include their right edge. By default
        False.
    axis : int or tuple of int, optional
        The axes of `by` that are reduced, as axes of `a`. By default all of them.
    fill_value : scalar, optional
        The result of a group with no elements. By default it is that of NumPy for sums, products,
        counts, and truth values, -1 for indices, and else NaN or NaT, for which integers are
        converted to floats.
    min_count : int, optional
        A group with fewer elements has `fill_value`. By default 0 if `func` has a result for no
        elements, and else 1.
    dtype : dtype, optional
        Type of the result. By default that of NumPy.
    finalize_kwargs : mapping, optional
        ``ddof`` for variances and standard deviations, by default 0, and ``q`` for quantiles.

    Returns
    -------
    result : ndarray, or list or dict of these
        The results, with an axis of groups for each `by` in the place of their axes. Several
        quantiles are along a first axis of their own. For indices, the index of the element in its
        line, or in the flattened axes of `by` if there are several.
    *groups : ndarray
        The labels of the groups, for each `by`; those of bins are their edges, of shape (n, 2).

    Raises
    ------
    TypeError, ValueError
        If `func` is unknown, or something else does not fit.
    MemoryError
        If memory has no room for the results.

    See Also
    --------
    bincount : Count non-negative integers.
    unique : Find the distinct elements of an array.
    reduce : Reduce an array with a custom reduction.

    Notes
    -----
    Sums, means, and variances are compensated. The result has the same bits for any number of
    workers.

    Examples
    --------
    >>> import sharedmem
    >>> temperature = [[3.0, 5.0, 20.0, 24.0], [1.0, 1.0, 10.0, 30.0]]
    >>> season = ["winter", "winter", "summer", "summer"]
    >>> mean, seasons = sharedmem.group_reduce(temperature, season, func="mean")
    >>> mean
    array([[22.,  4.],
           [20.,  1.]])
    >>> seasons.tolist()
    ['summer', 'winter']
    """
    for labels in by:
        check_aligned(a, by=labels)
    array = as_array(a)
    is_one = isinstance(func, str | Reduction)
    named: dict[Any, Any] = {"": func} if is_one else _named(func)
    given = _Given(fill_value, min_count, dtype, dict(finalize_kwargs or {}))
    requests = [_request(each, array.dtype, given) for each in named.values()]
    unused = given.more.keys() - {name for request in requests for name in request.more}
    if unused:
        raise TypeError(f"func takes no {', '.join(sorted(unused))}: see finalize_kwargs")
    if is_dask(array) or (is_store(array) and any(each.rule is None for each in requests)):
        in_memory(array)  # which refuses to read it
    _check_shapes(array.shape, by)
    groups = group_labels(by, expected_groups, isbin, sort)
    lines = grouped_lines(_frame(array), groups, axis)
    if is_store(array) and lines.n_reduced < len(lines.codes):
        raise ValueError(f"axis {axis} of an array in a file must name all axes that have labels")
    _check_room(lines, len(requests))
    found = _reduce(array, lines, requests)
    results: Any = dict(zip(named, found, strict=True))
    if not isinstance(func, Mapping):
        results = found[0] if is_one else found
    return results, *groups.labels


def _named(func: Any) -> dict[Any, Func]:
    named = dict(func) if isinstance(func, Mapping) else dict(enumerate(func))
    if not named:
        raise ValueError("func is empty: give at least one name or Reduction")
    return named


class _Given(NamedTuple):
    """The arguments for all functions."""

    fill: Any
    min_count: int | None
    dtype: Any
    more: dict[str, Any]


class _Request(NamedTuple):
    """A function of the elements of each group.

    Attributes
    ----------
    func : str or Reduction
        The name is without its prefix "nan".
    rule : GroupRule or None
        How kernels compute it; None if elements are sorted by group.
    skips_nan : bool
    dtype : dtype or None
        Type of the result; None if only the result tells.
    fill : object
        The result of a group with few elements; None for NaN.
    n_least : int
        The number of elements of all other groups.
    more : dict
        Options of the function.
    """

    func: Func
    rule: GroupRule | None
    skips_nan: bool
    dtype: Any
    fill: Any
    n_least: int
    more: dict[str, Any]


def _request(func: Any, dtype: np.dtype[Any], given: _Given) -> _Request:
    wanted = None if given.dtype is None else np.dtype(given.dtype)
    if isinstance(func, Reduction):
        n_least = given.min_count or int(func.identity is None)
        return _Request(func, None, False, wanted, given.fill, n_least, {})
    name = str(func).removeprefix("nan")
    if func not in NAMES:
        raise ValueError(f"func must be a Reduction or one of {', '.join(NAMES)}; got {func!r}")
    rule = RULES.get(name)
    empty = None if rule is None else rule.empty
    has_none = given.fill is not None or empty is None or bool(given.min_count)
    fill = -1 if given.fill is None and rule is not None and rule.is_index else given.fill
    options = {"q"} if name == "quantile" else set() if rule is None else rule.options
    more = {key: value for key, value in given.more.items() if key in options}
    if name == "quantile" and "q" not in more:
        raise TypeError("quantiles need q: give finalize_kwargs={'q': ...}")
    if rule is None:
        result = wanted or RULES["mean"].result(dtype)
        if dtype.kind not in "biuf":
            raise TypeError(f"{func} needs real numbers, got an array of dtype {dtype}")
    else:
        result = wanted or rule.result(dtype)
        if rule.is_mean and result.kind not in "fc":
            raise TypeError(f"the dtype of {func} must be floating, got {result}")
        if not rule.has_kernel(dtype, result):
            rule = None
    if fill is not None:
        _check_fill(fill, result)
    skips_nan = func != name or name == "count"
    return _Request(name, rule, skips_nan, result, fill, (given.min_count or 1) * has_none, more)


def _check_fill(fill: Any, dtype: np.dtype[Any]) -> None:
    try:
        np.full((), fill, np.result_type(dtype, fill))
    except OverflowError:
        raise ValueError(
            f"fill_value {fill} is out of bounds for results of dtype {dtype}: give a dtype that "
            "has it"
        ) from None


def _check_shapes(shape: tuple[int, ...], by: tuple[Any, ...]) -> None:
    """Refuse labels whose shape is not that of the last axes of an array."""
    if not by:
        raise TypeError("labels are missing: give one or several arrays of them after the array")
    of_by = common_shape([np.shape(labels) for labels in by])
    last = shape[max(len(shape) - len(of_by), 0) :]
    pairs = zip(of_by, last, strict=False)
    if len(of_by) != len(last) or not of_by or any(n not in (1, length) for n, length in pairs):
        raise ValueError(
            f"the labels have the shape {of_by}, but must have that of the last axes of the array, "
            f"whose shape is {shape}"
        )


def _frame(array: Array) -> Array:
    """Return an array itself, or for one in a file an array of its shape without memory."""
    if not is_store(array):
        return array
    return np.broadcast_to(np.empty((), array.dtype), array.shape)


def _check_room(lines: GroupedLines, n_results: int) -> None:
    n_outer, _, n_inner = lines.x.shape
    needed = 8 * n_results * n_outer * n_inner * lines.n_groups
    if needed > NEGLIGIBLE_BYTES and needed > (available := available_memory()):
        raise MemoryError(
            f"{lines.n_groups} groups of {n_outer * n_inner} lines need {needed} bytes, but only "
            f"{available} bytes of memory are available: name fewer groups by expected_groups"
        )


def _reduce(array: Array, lines: GroupedLines, requests: list[_Request]) -> list[Array]:
    """Return the result of each request: those of kernels in one pass."""
    rules = [(request.rule, request) for request in requests if request.rule is not None]
    found = iter(_by_kernels(array, lines, rules) if rules else ())
    if len(rules) < len(requests):
        run = current_pool().runner.run(lines.x.nbytes + lines.codes.nbytes)
        by_sorting = SortedGroups(run, lines.x, lines.codes, lines.n_groups)
    return [
        lines.shaped(next(found) if request.rule is not None else _by_sorting(by_sorting, request))
        for request in requests
    ]


def _by_kernels(
    array: Array, lines: GroupedLines, rules: list[tuple[GroupRule, _Request]]
) -> list[Array]:
    all_families = [
        rule.family(rule.words(array.dtype, request.dtype), request.skips_nan)
        for rule, request in rules
    ]
    families = [*dict.fromkeys(all_families)]
    states_of = [families.index(family) for family in all_families]

    def finish(states: list[State]) -> list[Array]:
        results = []
        for at, (rule, request) in zip(states_of, rules, strict=True):
            found = rule.value(states[at], **request.more)
            gives_places = rule.is_index or (rule.is_element and not is_store(array))
            results.append(found.astype(np.intp if gives_places else request.dtype))
            results.append(np.asarray(states[at][0] < request.n_least))
        return results

    needs_places = any(rule.gives_places for rule, _ in rules)
    reduction = GroupReduction(families, finish, lines.n_groups, needs_places)
    runner = current_pool().runner
    if is_store(array):
        codes = lines.codes.reshape(array.shape[array.ndim - lines.n_labeled :])
        found = reduce_stored_groups(runner, reduction, array, codes)
    else:
        run = runner.run(lines.x.nbytes + lines.codes.nbytes)
        found = reduction(run, lines.x, lines.codes)
    results = []
    for (rule, request), values, is_missing in zip(rules, found[::2], found[1::2], strict=True):
        if rule.is_element and not is_store(array):
            values = elements_at(lines.x, values).astype(request.dtype, copy=False)
        elif rule.is_index:
            values %= max(lines.n_reduced, 1)
        results.append(_filled(values, is_missing, request))
    return results


def _filled(values: Array, is_missing: Array, request: _Request) -> Array:
    """Return values with the result of groups that have few elements."""
    if not is_missing.any():
        return values
    fill = request.fill
    if fill is None:
        if values.dtype.kind not in "biufcmM":
            raise ValueError(f"groups without elements need a fill_value of {values.dtype}")
        fill = np.array("NaT", values.dtype)[()] if values.dtype.kind in "mM" else np.nan
    values = values.astype(np.result_type(values.dtype, fill), copy=False)
    values[..., is_missing] = fill
    return values


def _by_sorting(groups: SortedGroups, request: _Request) -> Array:
    func = request.func
    if func in ("median", "quantile"):
        q = np.asarray(request.more.get("q", 0.5), float)
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError(f"q must be between 0 and 1, got {request.more['q']}")
        qs = q.reshape(-1)
        found, counts = groups.quantiles(qs, request.dtype, request.skips_nan, func == "median")
        found = found if q.ndim else found[0]
        return _filled(found, counts < request.n_least, request)
    if isinstance(func, Reduction):
        call: Any = partial(reduce, run_serially, func)
    else:
        call = by_numpy(func, request.skips_nan, request.dtype, request.more)
    values, is_missing = groups.each(call, request.n_least)
    if request.dtype is not None:
        values = values.astype(request.dtype)
    return _filled(values, is_missing, request)
