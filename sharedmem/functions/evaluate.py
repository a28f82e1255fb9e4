"""Expressions of arrays, computed in one pass on the pool in use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import chunks
from sharedmem.engine.line_view import memory_order
from sharedmem.engine.operands import as_array, common_shape
from sharedmem.expressions.binding import Computation, bind
from sharedmem.expressions.fusion import fuse
from sharedmem.expressions.kernel import Kernel
from sharedmem.expressions.language import CONSTANTS, Steps, names_in, parse
from sharedmem.expressions.whole_ufuncs import kind_of
from sharedmem.kernels.machine_code import Share
from sharedmem.kernels.quiet import quiet
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]


def evaluate(
    expression: str, arrays: Mapping[str, Any] | None = None, /, *, out: Any = None, **named: Any
) -> Any:
    """Evaluate an expression of arrays in one pass, in parallel, without temporary arrays.

    Parameters
    ----------
    expression : str
        An expression of names, numbers, the constants ``pi``, ``e``, ``inf`` and ``nan``,
        parentheses, and

        - ``+ - * / // % **``, ``& | ^ ~ << >>`` and ``< <= > >= == !=``; comparisons may be
          chained, and ``&``, ``|`` and ``~`` mean and, or, and not;
        - ``where(condition, x, y)``, ``clip(x, low, high)``, ``minimum(x, y)``, ``maximum(x, y)``;
        - ``abs conj real imag sign sqrt square reciprocal floor ceil trunc rint``;
        - ``exp expm1 log log10 log1p log2 power(x, y) hypot(x, y) fmod(x, y)``;
        - ``sin cos tan arcsin arccos arctan arctan2(x, y)``, and with ``h`` the hyperbolic ones;
        - ``isnan isfinite isinf``.
    arrays : mapping, optional
        Arrays by name, in addition to `named`: for an array called ``out``, or the columns of a
        table. Names that are not in the expression are ignored.
    out : SharedArray, ndarray, or array in a file of zarr or h5py, optional
        Array for the result. By default a new shared array. It may overlap the other arrays, and
        may have another dtype that NumPy's rule "same_kind" allows.
    **named : array_like, array in a file, or number
        Arrays by name, broadcast against each other. Files are read and written chunk by chunk.

    Returns
    -------
    SharedArray or scalar
        `out`, or the result, with the dtype that NumPy gives it.

    Raises
    ------
    ValueError
        If the expression contains anything else, is longer than 10,000 characters, is nested more
        than 100 levels deep, or has integers beyond 64 bits; if no array is given for a name; or if
        shapes cannot be broadcast. A chain such as ``a + b - c + d`` is one level.
    TypeError
        If NumPy has no such operation for these types, the result cannot be cast to the dtype of
        `out`, or a keyword is not in the expression.

    See Also
    --------
    apply_ufunc : Apply a ufunc of NumPy, SciPy, or numba.
    map_chunks : Call a compiled function on chunks.

    Notes
    -----
    The text is never executed as Python. LLVM compiles it to one kernel for the types of the
    arrays, once per process. NumPy computes, in pieces and in parallel, what has no kernel: types
    such as float16, longdouble and datetime64, and powers of signed integers. It also computes
    small arrays.

    Arithmetic has the same bits as NumPy's on contiguous arrays. (NumPy rounds products and
    absolute values of complex numbers differently if the strides are negative.)
    Functions of float32 and float64, from ``exp`` to ``power``, are within 4 units in the last
    place, like NumPy's vectorized ones. Larger arrays use glibc's libmvec if the processor has
    AVX2; NumPy's loops if it has AVX-512, where they are faster, or neither;
    :doc:`/guide/vector-functions` lists the functions. ``log10`` of powers of ten is exact.
    :func:`sharedmem.apply_ufunc` calls NumPy's own functions.

    There are no warnings: division by zero and overflow give the values that NumPy gives.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> a = np.linspace(0, 1, 5)
    >>> sharedmem.evaluate("where(a < 0.5, a, 1 - a) * scale", a=a, scale=4)
    SharedArray([0., 1., 2., 1., 0.])
    >>> sharedmem.evaluate("0.2 < a < 0.8", a=a).tolist()
    [False, True, True, True, False]
    >>> sharedmem.evaluate("out / in_", {"out": a, "in_": 2}).tolist()
    [0.0, 0.125, 0.25, 0.375, 0.5]
    """
    return _evaluate(expression, arrays, named, out)


@quiet
def _evaluate(expression: str, arrays: Any, named: dict[str, Any], out: Any) -> Any:
    function, operands = _bound(expression, arrays, named)
    return current_pool().apply_ufunc(function, *operands, out=out)


MAX_FUNCTIONS = 256
_functions: dict[Any, tuple[_Function, list[str]]] = {}


def _bound(expression: str, arrays: Any, named: dict[str, Any]) -> tuple[_Function, list[Any]]:
    """Return an expression for these types, which is worked out once, and its arrays."""
    key = _key(expression, named) if arrays is None else None
    known = _functions.get(key)
    if known is not None:
        function, names = known
        return function, [named[name] for name in names]
    steps = parse(expression)
    given = _given({*names_in(steps)}, {} if arrays is None else arrays, named)
    values = {name: _as_operand(value) for name, value in given.items()}
    bound, names, scalars = bind(steps, values)
    operands = [values[name] for name in names]
    size = math.prod(common_shape([x.shape for x in operands]))
    dtypes = tuple(np.dtype(x.dtype) for x in operands)
    function = _Function(expression, bound, dtypes, tuple(scalars), size)
    if key is not None:
        if len(_functions) >= MAX_FUNCTIONS:
            _functions.clear()
        _functions[key] = function, names
    return function, operands


def _key(expression: str, named: dict[str, Any]) -> Any:
    """Return what the function of an expression depends on; None if it is not only of arrays."""
    kinds = [kind_of(x) for x in named.values()]
    if type(expression) is not str or any(kind is None for kind in kinds):
        return None
    return expression, *named, *kinds, *(np.shape(x) for x in named.values())


def _as_operand(value: Any) -> Any:
    """Return an array or a number; a Python number keeps its weak type."""
    if isinstance(value, bool):
        return np.bool_(value)
    if type(value) in (int, float, complex):
        return value
    value = as_array(value)
    return value if value.ndim else np.asarray(value[()])[()]


def _given(used: set[str], arrays: Any, named: dict[str, Any]) -> dict[str, Any]:
    """Return the array or number of each name in an expression; raise if there is none."""
    if not hasattr(arrays, "keys"):
        raise TypeError(
            f"arrays must be a mapping of names to arrays, got {type(arrays).__name__}; give the "
            "array for the result as out=, and others by name"
        )
    told = ", ".join(map(str, (*arrays, *named))) or "none"
    if both := sorted({*arrays} & {*named}):
        raise TypeError(f"{', '.join(both)} are given in the mapping and by name; give them once")
    if unused := sorted({*named} - used):
        raise TypeError(f"{', '.join(unused)} cannot be found in the expression; given: {told}")
    found = {name: arrays[name] for name in sorted(used) if name in arrays} | named
    if unknown := sorted(used - {*found, *CONSTANTS}):
        hint = "; an array of that name is given in a mapping, {'out': array}"
        hint = hint if unknown == ["out"] else ""
        raise ValueError(f"no array is given for {', '.join(unknown)}; given: {told}{hint}")
    return found


_UNKNOWN = object()


@dataclass(eq=False)
class _Function:
    """An expression that can be called like a ufunc, on a chunk of each operand."""

    text: str
    steps: Steps
    dtypes: tuple[np.dtype[Any], ...]
    scalars: tuple[Any, ...]
    size: int
    nout = 1

    def __post_init__(self) -> None:
        """Compile nothing before it is known that it is needed."""
        self.__name__, self.nin = self.text, len(self.dtypes)
        self.compute = Computation(self.steps)
        self._kernel: Any = _UNKNOWN
        self._dtype: Any = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of results."""
        if self._dtype is None:
            nothing = [np.empty(0, dtype) for dtype in self.dtypes]
            self._dtype = np.asarray(self.compute(nothing, self.scalars)).dtype
        return self._dtype  # type: ignore[no-any-return]

    @property
    def kernel(self) -> Kernel | None:
        """The machine code; None of small arrays, and if NumPy has to compute."""
        if self.is_small():
            return None
        if self._kernel is _UNKNOWN:
            self._kernel = fuse(self.steps, self.dtypes, self.scalars, is_exact=False)
        return self._kernel  # type: ignore[no-any-return]

    def is_small(self, _: Any = None) -> bool:
        """Return whether NumPy computes all in less time than threads."""
        return self.size <= tuning.expression_piece_length

    def by_numpy(self, operands: Sequence[Any], out: Array) -> None:
        """Compute all of `out`, which may be an operand."""
        out[...] = self.compute(operands, self.scalars)

    def __reduce__(self) -> Any:
        """Pickle without the machine code: another process compiles its own."""
        return _Function, (self.text, self.steps, self.dtypes, self.scalars, self.size)

    def __call__(self, *operands: Array, out: tuple[Array, ...] = ()) -> Any:
        """Compute a chunk; for a chunk without elements, return the dtype of results."""
        if not out or not out[0].size:
            return self._empty_result(operands, out)
        operands = tuple(np.broadcast_to(x, out[0].shape) for x in operands)
        if not self.together(None, operands, out[0]):
            self._compute_pieces(operands, out[0])
        return out[0]

    def fill(self, operands: Sequence[Array], out: Array) -> None:
        """Compute all of `out`, a small part of the result, which stays in the caches."""
        kernel = self.kernel
        if kernel is None or kernel.compute_whole(operands, out, out.size) is None:
            self._compute_pieces(operands, out)

    def _compute_pieces(self, operands: Sequence[Array], out: Array) -> None:
        axes = memory_order(out.strides)
        parts = [x.transpose(axes) for x in (*operands, out)]
        size = tuning.expression_piece_length * out.itemsize
        for piece in chunks(parts[-1], range(len(axes)), nbytes=size):
            self._compute([part[(*piece, ...)] for part in parts])

    def together(self, share: Share | None, operands: Sequence[Array], out: Array) -> bool:
        """Compute all of `out`, in threads if they share the work; return whether it was possible.

        If not, the arrays have to be cut into pieces first.
        """
        kernel = self.kernel
        return kernel is not None and (
            kernel.compute_whole(operands, out, self.size, share) is not None
        )

    def _empty_result(self, operands: tuple[Array, ...], out: tuple[Array, ...]) -> Any:
        if self.kernel is None:
            result = np.asarray(self.compute(operands, self.scalars))
        else:
            result = np.empty(operands[0].shape, self.kernel.dtype)
        for target in out:
            if not np.can_cast(result.dtype, target.dtype, "same_kind"):
                raise TypeError(
                    f"{self.__name__!r} is of dtype {result.dtype}, which cannot be cast to the "
                    f"dtype of out, {target.dtype}, by the rule 'same_kind'"
                )
        return result[()]

    def _compute(self, parts: list[Array]) -> None:
        *operands, out = parts
        if self.kernel is None:
            result = self.compute(operands, self.scalars)
        else:
            result = np.empty(out.shape, self.kernel.dtype)
            plain = [np.require(x, x.dtype.newbyteorder("="), ["C", "A"]) for x in operands]
            self.kernel(plain, result, streams=False)
        np.copyto(out, result, casting="unsafe")
