"""Expressions compiled to one kernel, with NumPy's own loops for what it vectorizes better."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharedmem.expressions import FUNCTIONS, POWERS, Call, Node, Operand, Scalar

Dtype = np.dtype[Any]

_HEAD = object.__basicsize__

# Elements computed at once, so that what passes from loop to loop stays in the nearest cache:
# exp(-a*a) + c*0.5 takes 46 ms with 512 and 1024, 43 with 2048, 44 with 4096 (256 MiB each).
STRIP = 2048

# What numba has and compiles to the very arithmetic of NumPy, which is worth fusing.
_ARITHMETIC = {"+": "{} + {}", "-": "{} - {}", "*": "{} * {}"}
_OF_FLOATS = {"/": "{} / {}", "negative": "-{}", "abs": "abs({})", "sqrt": "sqrt({})",
              "** 0.5": "sqrt({})"}  # fmt: skip
_SQUARES = {"square", "** 2", "** 2.0"}
_COMPARISONS = {"<", "<=", ">", ">=", "==", "!="}
_BITWISE = {"&", "|", "^"}

_UFUNCS = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.true_divide, "//": np.floor_divide,
    "%": np.remainder, "**": np.power, "&": np.bitwise_and, "|": np.bitwise_or,
    "^": np.bitwise_xor, "<<": np.left_shift, ">>": np.right_shift, "<": np.less,
    "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal,
    "!=": np.not_equal, "negative": np.negative, "positive": np.positive, "~": np.invert,
    "** 2": np.square, "** 2.0": np.square, "** 0.5": np.sqrt,
    "** -1": np.reciprocal, "** -1.0": np.reciprocal,
}  # fmt: skip

_DTYPES = {np.dtype(name): name for name in (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
    "float64", "complex64", "complex128",
)}  # fmt: skip
_ADDRESS = np.dtype(np.uintp).itemsize
_LOOP = ctypes.CFUNCTYPE(None, *[ctypes.c_size_t] * 4)


class _Unfused(Exception):  # noqa: N818 - no error: NumPy computes it
    """There is no kernel for an expression of these types."""


@dataclass(frozen=True)
class Kernel:
    """A compiled expression.

    Attributes
    ----------
    function : callable
        What numba has compiled.
    dtype : dtype
        Of the result.
    scalar_dtypes : tuple of dtype
        What the numbers of the expression become.
    strip_dtypes : tuple of dtype
        Of what passes from loop to loop.
    """

    function: Callable[..., None]
    dtype: Dtype
    scalar_dtypes: tuple[Dtype, ...]
    strip_dtypes: tuple[Dtype, ...]

    def cast(self, scalars: list[Any]) -> tuple[Any, ...]:
        """Give numbers the types that they are computed with.

        Raises
        ------
        OverflowError
            If an integer of Python's does not fit.
        """
        return tuple(
            np.array([value], dtype)
            for value, dtype in zip(scalars, self.scalar_dtypes, strict=True)
        )

    def __call__(self, operands: list[Any], scalars: tuple[Any, ...], out: Any) -> None:
        """Compute `out`, which is contiguous and of one dimension, as the operands are."""
        strips = (np.empty(STRIP, dtype) for dtype in self.strip_dtypes)
        work = np.empty(10, np.uintp)
        work[9] = any(np.may_share_memory(out, x) for x in operands)
        self.function(out, work, *operands, *scalars, *strips)


# Threads that begin with one expression at once would all compile it.
_compiling = threading.Lock()


def fuse(tree: Node, operand_dtypes: tuple[Dtype, ...]) -> Kernel | None:
    """Compile a tree that :func:`sharedmem.expressions.bind` gave, for the types in it.

    Returns
    -------
    Kernel or None
        None where numba or NumPy's tables lack what that needs: then NumPy computes it.
    """
    with _compiling:
        return _fuse(tree, operand_dtypes)


@functools.lru_cache(256)
def _fuse(tree: Node, operand_dtypes: tuple[Dtype, ...]) -> Kernel | None:
    program = _Program(operand_dtypes)
    try:
        source = program.source(program.value_of(tree))
    except _Unfused:
        return None
    scalar_dtypes = tuple(dtype for _, dtype in sorted(program.scalars.items()))
    function = _compile(source, program, scalar_dtypes)
    return Kernel(function, program.dtype, scalar_dtypes, tuple(program.strips))


def _compile(source: str, program: _Program, scalar_dtypes: tuple[Dtype, ...]) -> Any:
    """Compile a source that holds no word of the user's."""
    import numba

    namespace: dict[str, Any] = {
        **{f"to_{name}": dtype.type for dtype, name in _DTYPES.items()},
        **program.loops,
        "sqrt": np.sqrt,
    }
    exec(source, namespace)

    def array(dtype: Dtype, readonly: bool = False) -> Any:
        return numba.types.Array(numba.from_dtype(dtype), 1, "C", readonly=readonly)

    signature = numba.void(
        array(program.dtype),
        array(np.dtype(np.uintp)),
        *(array(dtype.newbyteorder("="), readonly=True) for dtype in program.operand_dtypes),
        *map(array, scalar_dtypes),
        *map(array, program.strips),
    )
    return numba.njit(signature, nogil=True, error_model="numpy")(namespace["kernel"])


@dataclass
class _Value:
    """A result on its way: a variable of the loop of one stage, or a strip, or both."""

    name: str
    dtype: Dtype
    stage: int
    strip: str | None = None
    is_variable: bool = False


class _Program:
    """The kernel's source: in each stage a loop of arithmetic, then calls of NumPy's loops."""

    def __init__(self, operand_dtypes: tuple[Dtype, ...]) -> None:
        self.operand_dtypes = operand_dtypes
        self.dtype = np.dtype(np.void)
        self.scalars: dict[int, Dtype] = {}
        self.strips: list[Dtype] = []
        self.loops: dict[str, Any] = {}
        self._values: dict[Node, _Value] = {}
        self._lines: list[list[str]] = [[]]
        self._loads: list[set[str]] = [set()]
        self._calls: list[list[str]] = [[]]

    def source(self, result: _Value) -> str:
        """Return the source of the kernel that writes `result`."""
        self.dtype = result.dtype
        self._lines[result.stage].append(f"out[j] = {self._use(result, result.stage)}")
        # What LLVM cannot know to lie apart, it does not vectorize: sqrt in place takes three times
        # as long, so that its results go by way of a strip.
        spare = self._new_strip(result.dtype)
        operands = [f"x{index}" for index in range(len(self.operand_dtypes))]
        scalars = [f"q{index}" for index in sorted(self.scalars)]
        strips = [f"s{index}" for index in range(len(self.strips))]
        lines = [
            f"def kernel({', '.join(['result', 'work', *(f'a{x}' for x in operands)])}, "
            f"{', '.join(scalars + strips)}):",
            *(f"    k{name[1:]} = {name}[0]" for name in scalars),
            f"    for start in range(0, result.size, {STRIP}):",
            f"        n = min({STRIP}, result.size - start)",
            f"        out = {spare}[:n] if work[9] else result[start:start + n]",
            *(f"        {x} = a{x}[start:start + n]" for x in operands),
        ]
        for body, calls in zip(self._lines, self._calls, strict=True):
            if body:
                lines.append("        for j in range(n):")
                lines += [f"            {line}" for line in body]
            lines += [f"        {line}" for line in calls]
        lines += ["        if work[9]:", "            result[start:start + n] = out"]
        return "\n".join(lines)

    def value_of(self, node: Node) -> _Value:
        """Append what computes a tree, unless it is there already."""
        if node not in self._values:
            self._values[node] = self._new_value(node)
        return self._values[node]

    def _new_value(self, node: Node) -> _Value:
        if isinstance(node, Operand):
            name = f"x{node.index}"
            return _Value(f"{name}j", _known(node.dtype), 0, name)
        assert isinstance(node, Call)
        if node.function == "where":
            return self._where(*node.arguments)
        if node.function in ("real", "imag"):
            return self._part(node.function, self.value_of(node.arguments[0]))
        ufunc: Any = _UFUNCS.get(node.function) or FUNCTIONS[node.function]
        try:
            *wanted, dtype = ufunc.resolve_dtypes((*map(self._kind, node.arguments), None))
        except TypeError:  # NumPy says it better
            raise _Unfused from None
        # A negative exponent of an integer is an error, for which a loop needs the interpreter.
        if ufunc is np.power and dtype.kind == "i":
            raise _Unfused
        if node.function in POWERS:
            kind = self._kind(node.arguments[0]).kind
            if kind != "f" and not (node.function == "** 2" and kind in "iu"):
                raise _Unfused
        arguments = [
            self._as(part, _known(kind)) for part, kind in zip(node.arguments, wanted, strict=True)
        ]
        template = _template(node.function, wanted)
        if template:
            return self._inline(template, _known(dtype), *arguments)
        return self._call(*_loop(ufunc, (*wanted, dtype)), _known(dtype), arguments)

    def _kind(self, node: Node) -> Any:
        return node.kind if isinstance(node, Scalar) else self.value_of(node).dtype

    def _as(self, node: Node, dtype: Dtype) -> _Value:
        """Append what gives a tree in a type."""
        if isinstance(node, Scalar):
            self.scalars[node.index] = dtype
            return _Value(f"k{node.index}", dtype, 0, f"q{node.index}", is_variable=True)
        value = self.value_of(node)
        if value.dtype == dtype:
            return value
        if dtype.kind == "b":
            return self._inline("{} != 0", dtype, value)
        return self._inline("{}", dtype, value)

    def _where(self, condition: Node, x: Node, y: Node) -> _Value:
        kinds = [self._kind(node) for node in (x, y)]
        dtype = _known(
            np.result_type(*(kind(1) if isinstance(kind, type) else kind for kind in kinds))
        )
        chosen = self._as(condition, np.dtype(bool))
        return self._inline(
            "{1} if {0} else {2}", dtype, chosen, self._as(x, dtype), self._as(y, dtype)
        )

    def _part(self, function: str, value: _Value) -> _Value:
        if value.dtype.kind == "c":
            return self._inline(f"{{}}.{function}", value.dtype.type().real.dtype, value)
        return value if function == "real" else self._inline("0", value.dtype, value)

    def _inline(self, template: str, dtype: Dtype, *arguments: _Value) -> _Value:
        stage = max(argument.stage for argument in arguments)
        names = [self._use(argument, stage) for argument in arguments]
        value = _Value(f"v{len(self._values)}_{len(self._lines[stage])}", dtype, stage)
        value.is_variable = True
        self._lines[stage].append(f"{value.name} = to_{_DTYPES[dtype]}({template.format(*names)})")
        return value

    def _call(self, loop: Any, data: int, dtype: Dtype, arguments: list[_Value]) -> _Value:
        """Append a call of one of NumPy's loops: of addresses, a length, and strides in bytes."""
        stage = max(argument.stage for argument in arguments)
        strips = [self._strip_of(argument) for argument in arguments]
        result = _Value("", dtype, stage + 1, self._new_strip(dtype))
        result.name = f"{result.strip}j"
        if stage + 1 == len(self._lines):
            self._lines.append([])
            self._loads.append(set())
            self._calls.append([])
        calls = self._calls[stage]
        for at, part in enumerate([*strips, result.strip]):
            itemsize = [*arguments, result][at].dtype.itemsize
            step = 0 if part and part.startswith("q") else itemsize
            calls += [f"work[{at}] = {part}.ctypes.data", f"work[{at + 4}] = {step}"]
        name = f"loop{len(self.loops)}"
        self.loops[name] = loop
        address = "work.ctypes.data"
        calls += [
            "work[8] = n",
            f"{name}({address}, {address} + {8 * _ADDRESS}, {address} + {4 * _ADDRESS}, {data})",
        ]
        return result

    def _use(self, value: _Value, stage: int) -> str:
        """Return the variable that holds a value in the loop of a stage."""
        if value.is_variable and (value.stage == stage or value.name.startswith("k")):
            return value.name
        strip = self._strip_of(value)
        if value.name not in self._loads[stage]:
            self._loads[stage].add(value.name)
            self._lines[stage].append(f"{value.name} = {strip}[j]")
        return value.name

    def _strip_of(self, value: _Value) -> str:
        """Return the strip that holds a value after the loop of its stage."""
        if value.strip is None:
            value.strip = self._new_strip(value.dtype)
            self._lines[value.stage].append(f"{value.strip}[j] = {value.name}")
        return value.strip

    def _new_strip(self, dtype: Dtype) -> str:
        self.strips.append(dtype)
        return f"s{len(self.strips) - 1}"


def _known(dtype: Dtype) -> Dtype:
    """Return a type that numba computes with, in the order of bytes of the machine."""
    dtype = dtype.newbyteorder("=")
    if dtype not in _DTYPES:
        raise _Unfused
    return dtype


def _template(function: str, dtypes: list[Dtype]) -> str | None:
    """Return how numba computes what it computes as NumPy does, bit by bit, and vectorizes."""
    kind = dtypes[0].kind
    if any(dtype != dtypes[0] for dtype in dtypes):
        return None
    if function in _ARITHMETIC and (kind in "iuf" or (kind == "c" and function in "+-")):
        return _ARITHMETIC[function]
    if function in _OF_FLOATS and kind == "f":
        return _OF_FLOATS[function]
    if function in _SQUARES and kind in "iuf":
        return "{0} * {0}"
    if function in _COMPARISONS and kind in "iuf":
        return f"{{}} {function} {{}}"
    return f"{{}} {function} {{}}" if function in _BITWISE and kind in "biu" else None


def _loop(ufunc: Any, dtypes: tuple[Dtype, ...]) -> tuple[Any, int]:
    """Return NumPy's inner loop of a ufunc for some types, and the data that it wants.

    They stand in the structure PyUFuncObject, which is part of NumPy's C API.

    References
    ----------
    .. [1] https://numpy.org/doc/stable/reference/c-api/types-and-structures.html
    """
    if not _is_table_as_documented(ufunc):
        raise _Unfused
    for at, signature in enumerate(ufunc.types):
        if tuple(map(np.dtype, signature.replace("->", ""))) == dtypes:
            functions, data = (ctypes.c_void_p * 2).from_address(id(ufunc) + _HEAD + 16)
            loops = (ctypes.c_void_p * ufunc.ntypes).from_address(functions or 0)
            datas = (
                (ctypes.c_void_p * ufunc.ntypes).from_address(data) if data else [None] * (at + 1)
            )
            return _LOOP(loops[at] or 0), datas[at] or 0
    raise _Unfused


def _is_table_as_documented(ufunc: Any) -> bool:
    counts = (ctypes.c_int * 3).from_address(id(ufunc) + _HEAD)
    n_types = ctypes.c_int.from_address(id(ufunc) + _HEAD + 16 + 2 * _ADDRESS)
    expected = (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes)
    return (*counts, n_types.value) == expected
