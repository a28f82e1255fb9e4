"""What threads can do to a number at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _fetch_add(typing: Any, array: Any, place: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(numbers.data, [arguments[1]])
        return builder.atomic_rmw("add", pointer, arguments[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), generate


# fetch_add(array, place, value) adds to an int64 in one step, and returns what it was before.
fetch_add = cast(Callable[[NDArray[Any], int, int], int], _fetch_add)
