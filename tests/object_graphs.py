"""Graphs of objects with arrays, drawn by hypothesis, and their equality type by type."""

import dataclasses
import pickle
from collections import OrderedDict, deque, namedtuple
from decimal import Decimal

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sharedmem import SharedArray

Pair = namedtuple("Pair", ["first", "second"])


@dataclasses.dataclass
class Model:
    weights: np.ndarray
    notes: dict = dataclasses.field(default_factory=dict)
    parent: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    values: np.ndarray


def same(a, b):
    """Return whether two objects are equal, type by type; arrays may be SharedArrays."""
    kinds = {type(a), type(b)}
    if isinstance(a, np.ndarray) and (len(kinds) == 1 or kinds == {np.ndarray, SharedArray}):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.hasobject:
            return all(map(same, a.flat, b.flat))
        return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    # A list or a dict of many arrays is of a subclass.
    if len(kinds) > 1 and kinds - {list, dict} != {type(a)}:
        return False
    if isinstance(a, dict):
        return same([*a.items()], [*b.items()])
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(map(same, a, b))
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a)]
        return all(same(getattr(a, name), getattr(b, name)) for name in names)
    return a == b or (a != a and b != b)


def reloaded(obj):
    return pickle.loads(pickle.dumps(obj, 5))  # earlier protocols lose the byte order


def arrays_of(obj, found=None):
    """Return the arrays in containers."""
    found = [] if found is None else found
    if isinstance(obj, np.ndarray):
        found.append(obj)
    elif isinstance(obj, dict):
        arrays_of([*obj.values()], found)
    elif isinstance(obj, list | tuple | deque):
        for item in obj:
            arrays_of(item, found)
    elif dataclasses.is_dataclass(obj):
        arrays_of([getattr(obj, field.name) for field in dataclasses.fields(obj)], found)
    return found


dtypes = st.one_of(
    hnp.scalar_dtypes(),
    hnp.array_dtypes(),
    st.sampled_from([np.dtype(">i4"), np.dtype("S3"), np.dtype("V5"), np.dtype("O")]),
)


@st.composite
def arrays(draw):
    dtype = draw(dtypes)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    if dtype.hasobject:
        a = np.empty(shape, dtype)
        a[...] = draw(st.sampled_from([None, 1, "text"]))
    else:
        n_bytes = int(np.prod(shape, dtype=int)) * dtype.itemsize
        seed = draw(st.integers(0, 2**16))
        content = np.random.default_rng(seed).integers(0, 2, n_bytes, dtype="u1")
        a = np.ndarray(shape, dtype, content.tobytes()).copy()
    view = a.transpose(draw(st.permutations(range(a.ndim))))
    key = draw(hnp.basic_indices(view.shape, allow_newaxis=True, allow_ellipsis=True))
    part = view[key]
    return part if isinstance(part, np.ndarray) else view


leaves = st.one_of(
    arrays(),
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.dates(),
    st.sampled_from([Decimal("1.5"), range(3), np.float32(2), slice(1, 2)]),
)


def nested(children):
    return st.one_of(
        st.lists(children, max_size=4),
        st.lists(arrays(), min_size=60, max_size=70),
        st.lists(children, max_size=3).map(tuple),
        st.lists(children, max_size=3).map(deque),
        st.dictionaries(st.text(max_size=2), children, max_size=4),
        st.dictionaries(st.integers(0, 9), children, max_size=3).map(OrderedDict),
        st.builds(Pair, children, children),
        st.builds(Model, children, st.dictionaries(st.text(max_size=1), children, max_size=2)),
        st.builds(Frozen, children),
    )
