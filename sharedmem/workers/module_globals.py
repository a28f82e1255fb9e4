"""Global variables of the functions that workers load: set when they have changed elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from sharedmem.workers.fingerprints import fingerprint_of, is_plain, module_of, referred_globals

# The digests of the values that came last, by module and name. What tasks and initializers set
# here stays until another value comes.
_came: dict[tuple[str, str], bytes | None] = {}


def namespace_of(module: str) -> dict[str, Any]:
    """Return the global variables of a module, which a fresh interpreter imports now."""
    return vars(importlib.import_module(module))


def set_globals(
    module: str, values: Mapping[str, Any], digests: Mapping[str, bytes | None]
) -> None:
    """Set the variables of a module that have other values than those that came last."""
    namespace = namespace_of(module)
    for name, value in values.items():
        place, digest = (module, name), digests[name]
        if place not in _came and is_plain(namespace.get(name)):
            _note(module, name, namespace.get(name))
        if digest is None or _came.get(place) != digest:
            namespace[name] = value
        _came[place] = digest


def note_globals(func: Any) -> None:
    """Note the variables that a function refers to, which it may set: they have come already."""
    if isinstance(func, FunctionType):
        module = module_of(func)
        for name, value in referred_globals(func).items():
            if module is not None and (module, name) not in _came:
                _note(module, name, value)


def _note(module: str, name: str, value: object) -> None:
    fingerprint = fingerprint_of(value)
    _came[module, name] = None if fingerprint is None else fingerprint.digest
