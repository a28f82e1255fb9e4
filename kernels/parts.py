"""Kernels and their parts as numba compiles them, and the object code of a kernel.

numba optimizes each function and makes machine code of it, and again of each copy in a caller. That
takes a quarter to a half of the time in which a kernel is compiled.
"""

# mypy: allow-untyped-calls, disable-error-code="misc, unused-ignore"
# (numba is typed in parts, and in other parts from version to version)

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils, compiler_lock, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import PassManager
from numba.core.registry import CPUDispatcher, cpu_target
from numba.np.arrayobj import populate_array

from sharedmem.kernels import compile as kernels, machine_code

# Fields of an array object, after the head of all objects: its data, its number of dimensions, and
# the addresses of its shape and strides. They are part of NumPy's binary interface.
_DATA, _SHAPE, _STRIDES = (object.__basicsize__ + 8 * place for place in (0, 2, 3))
_WORD = ir.IntType(64)
_STATUS = ir.IntType(32)


def dispatcher(function: Callable[..., Any]) -> Any:
    """Return a function as numba knows it, compiled as a part of others.

    NRT, which counts the references to arrays, is left out: kernels allocate none.
    """
    options = {
        "nopython": True, "nogil": True, "error_model": "numpy", "_nrt": False,
        "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
    }  # fmt: skip
    return _Dispatcher(function, targetoptions=options, pipeline_class=_PartCompiler)


def type_of(function: Any) -> Any:
    """Return the type of a function in other functions."""
    return types.Dispatcher(function)


def type_of_intrinsic(intrinsic: Any) -> Any:
    """Return the type of an intrinsic of numba in other functions."""
    context = cpu_target.typing_context
    context.refresh()  # it may have been defined since the compilation began
    return context.resolve_value_type(intrinsic)


@contextlib.contextmanager
def _jit() -> Iterator[None]:
    """Enable numba's compiler, also where NUMBA_DISABLE_JIT runs users' kernels in Python.

    Our kernels contain machine instructions, and cannot run in Python.
    """
    with compiler_lock.global_compiler_lock:  # another thread would disable it again
        before, _config.DISABLE_JIT = _config.DISABLE_JIT, 0
        try:
            yield
        finally:
            _config.DISABLE_JIT = before


_config: Any = numba.config


class _Dispatcher(CPUDispatcher):
    """A function that is compiled also with NUMBA_DISABLE_JIT."""

    def compile(self, sig: Any) -> Any:
        with _jit():
            return super().compile(sig)


class _PartCompiler(Compiler):
    """numba's compiler, which keeps the code of a part in a library of its own kind."""

    def __init__(self, typing: Any, target: Any, library: Any, *others: Any) -> None:
        library = library or _PartLibrary(target.codegen(), "part of kernels")
        super().__init__(typing, target, library, *others)

    def define_pipelines(self) -> list[Any]:
        """Return the passes of numba but for those that change nothing in kernels."""
        (whole,) = super().define_pipelines()
        lean = PassManager("kernels")
        lean.passes = [each for each in whole.passes if each[0] not in _IDLE]
        lean.finalize()
        return [lean]


# Comprehensions and inner functions, expressions of whole arrays, and inlining by numba.
_IDLE = {
    untyped_passes.InlineClosureLikes,
    untyped_passes.InlineInlinables,
    typed_passes.InlineOverloads,
    typed_passes.NopythonRewrites,
}


class _PartLibrary(JITCodeLibrary):
    """Code that is linked into that of its callers, and never runs by itself."""

    def _optimize_final_module(self) -> None:
        """Do nothing: the code of the kernel is optimized as a whole."""

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return a null pointer, as for any function that is not in a library."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        return _WithoutEnvironments(super().codegen)


class _WithoutEnvironments:
    """A code generator that does not look up the address of a function's Python environment."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: parts use no Python objects, and the variable is in no machine code."""


def object_code(function: Any, arguments: tuple[Any, ...]) -> bytes:
    """Return the object code of a kernel for the types of some arguments.

    Its only function is ``entry``, which takes a block of words: see
    :class:`sharedmem.kernels.compile.Kernel`.
    """
    with _jit():
        kinds = tuple(numba.typeof(argument) for argument in arguments)
        function.compile(kinds)
        compiled = function.overloads[kinds]
        module = llvm.parse_assembly(str(_entry(compiled)))
        module.link_in(compiled.library._get_module_for_linking(), preserve=True)
    for each in module.functions:
        if each.is_declaration:
            each.name = each.name.removeprefix("numba_")  # the same as in the C library
        elif each.name != "entry":
            each.linkage = "internal"
    code = machine_code.compile_module(module)
    _check_references(module)
    return code


def _check_references(module: Any) -> None:
    """Check that code refers to the C library only: processes without numba load it, too."""
    library = ctypes.CDLL("libm.so.6")
    for function in module.functions:
        name = function.name
        if function.is_declaration and not name.startswith("llvm.") and not hasattr(library, name):
            raise RuntimeError(f"a kernel calls {name}, which is not in the C library")


def _entry(compiled: Any) -> Any:
    """Return the module of the function ``entry``, which calls a compiled function."""
    context, described = compiled.target_context, compiled.fndesc
    module = context.create_module("kernel")
    entry = ir.Function(module, ir.FunctionType(_STATUS, [_WORD.as_pointer()]), "entry")
    builder = ir.IRBuilder(entry.append_basic_block())
    (block,) = entry.args

    def word(place: int) -> Any:
        return builder.gep(block, [_STATUS(place)])

    place = 1 + kernels.N_RESULTS

    def argument(kind: Any) -> Any:
        nonlocal place
        if _is_tuple(kind):
            return context.make_tuple(builder, kind, [argument(each) for each in kind.types])
        if isinstance(kind, types.NoneType):
            return context.get_dummy_value()
        read, place = builder.load(word(place)), place + 1
        if isinstance(kind, types.Array):
            return _array(context, builder, kind, read)
        if isinstance(kind, types.Float):
            number = builder.bitcast(read, ir.DoubleType())
            return context.cast(builder, number, types.float64, kind)
        if isinstance(kind, types.Boolean):
            return builder.trunc(read, context.get_value_type(kind))
        return context.cast(builder, read, types.int64, kind)

    status, result = context.call_conv.call_function(
        builder,
        context.declare_function(module, described),
        described.restype,
        described.argtypes,
        [argument(kind) for kind in described.argtypes],
    )
    with builder.if_then(status.is_error, likely=False):
        builder.ret(_STATUS(1))
    numbers = _numbers(context, builder, described.restype, result)
    form = sum(digit << kernels.DIGIT * at for at, (digit, _) in enumerate(numbers))
    for at, number in enumerate([_WORD(form), *(number for _, number in numbers)]):
        builder.store(number, word(at))
    builder.ret(_STATUS(0))
    return module


def _is_tuple(kind: Any) -> bool:
    return isinstance(kind, types.BaseTuple)


def _array(context: Any, builder: Any, kind: Any, address: Any) -> Any:
    """Return an array of numba that is a given array object."""

    def field(offset: int, form: Any) -> Any:
        pointer = builder.inttoptr(builder.add(address, _WORD(offset)), form.as_pointer())
        return builder.load(pointer)

    words = _WORD.as_pointer()
    shape, strides = (
        [builder.load(builder.gep(start, [_STATUS(axis)])) for axis in range(kind.ndim)]
        for start in (field(_SHAPE, words), field(_STRIDES, words))
    )
    array = context.make_array(kind)(context, builder)
    itemsize = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    populate_array(
        array,
        data=field(_DATA, context.get_data_type(kind.dtype).as_pointer()),
        shape=shape,
        strides=strides,
        itemsize=_WORD(itemsize),
        meminfo=None,
    )
    return array._getvalue()


def _numbers(context: Any, builder: Any, kind: Any, value: Any) -> list[tuple[int, Any]]:
    """Return the numbers of a result as words, each with the digit of its form."""
    if isinstance(kind, types.NoneType):
        return []
    if _is_tuple(kind):
        parts = cgutils.unpack_tuple(builder, value)
        return [_number(context, builder, *pair) for pair in zip(kind.types, parts, strict=True)]
    return [_number(context, builder, kind, value)]


def _number(context: Any, builder: Any, kind: Any, value: Any) -> tuple[int, Any]:
    if isinstance(kind, types.Float):
        number = context.cast(builder, value, kind, types.float64)
        return kernels.RESULTS.index("d"), builder.bitcast(number, _WORD)
    if isinstance(kind, types.Boolean):
        return kernels.RESULTS.index("?7x"), builder.zext(value, _WORD)
    if kind not in types.integer_domain:
        raise TypeError(f"a kernel returns numbers, and no {kind}")
    is_signed = kind in types.signed_domain
    word = context.cast(builder, value, kind, types.int64 if is_signed else types.uint64)
    return kernels.RESULTS.index("q" if is_signed else "Q"), word
