"""Parts of kernels as intermediate code, which only the kernels that call them make machine code.

numba optimizes each function and makes machine code of it, and again of each copy in a caller. That
takes a quarter to a half of the time in which a kernel is compiled.
"""

# mypy: allow-untyped-calls, disable-error-code="misc, unused-ignore"

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class PartCompiler(Compiler):
    """numba's compiler, which keeps the code of a part in a library of its own kind."""

    def __init__(self, typing: Any, target: Any, library: Any, *others: Any) -> None:
        library = library or _PartLibrary(target.codegen(), "part of kernels")
        super().__init__(typing, target, library, *others)


class _PartLibrary(JITCodeLibrary):
    """Code that is linked into the libraries of its callers, and never runs by itself."""

    def _optimize_final_module(self) -> None:
        """Do nothing: the library of the kernel is optimized as a whole."""

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
