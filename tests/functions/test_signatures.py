"""Functions with NumPy's names take NumPy's arguments, except those that the docs list."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import sharedmem

PAGE = Path(__file__).parents[2] / "docs/guide/dtypes.md"
NUMPYS = {
    name: getattr(np, name, None) or getattr(np.linalg, name)
    for name in sharedmem.__all__
    if inspect.isfunction(getattr(sharedmem, name)) and (hasattr(np, name) or name == "norm")
}


def listed():
    """Return the parameters that the page lists as not taken, by function."""
    table = PAGE.read_text().partition("## Differences in arguments")[2]
    found = {}
    for functions, parameters in re.findall(r"^\| (`.*?`) \| (`.*?`) \|", table, re.MULTILINE):
        for function in re.findall(r"`(\w+)`", functions):
            found.setdefault(function, set()).update(re.findall(r"`(\w+)`", parameters))
    return found


def test_the_page_lists_functions_of_numpy():
    assert len(NUMPYS) >= 60
    assert listed().keys() <= NUMPYS.keys()


@pytest.mark.parametrize("name", NUMPYS)
def test_arguments_are_those_of_numpy(name):
    theirs = inspect.signature(NUMPYS[name]).parameters.values()
    ours = inspect.signature(getattr(sharedmem, name)).parameters
    has_args = any(p.kind is p.VAR_POSITIONAL for p in ours.values())
    missing = set()
    for place, parameter in enumerate(theirs):
        if parameter.kind is parameter.POSITIONAL_ONLY:
            assert has_args or place < len(ours)
        elif parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in ours:
            missing.add(parameter.name)
    assert missing == listed().get(name, set())


@pytest.mark.parametrize("name", NUMPYS)
def test_arguments_are_at_the_positions_of_numpy(name):
    """A positional argument of NumPy is at the same position, or keyword-only."""
    places = {}
    for module in (sharedmem, np):
        function = NUMPYS[name] if module is np else getattr(sharedmem, name)
        for place, p in enumerate(inspect.signature(function).parameters.values()):
            if p.kind is p.POSITIONAL_OR_KEYWORD:
                places.setdefault(p.name, set()).add(place)
    assert all(len(found) == 1 for found in places.values())


def test_less_usual_arguments_match_numpy():
    a = np.array([[1.0, 2, 4], [3, 5, 9]])
    mean = a.mean(axis=1, keepdims=True)
    for name in ("var", "std", "nanvar", "nanstd"):
        function, numpys = getattr(sharedmem, name), getattr(np, name)
        assert function(a, correction=1) == numpys(a, ddof=1)
        given = function(a, axis=1, mean=mean, ddof=1)
        np.testing.assert_array_equal(given, numpys(a, axis=1, mean=mean, ddof=1))
        with pytest.raises(ValueError, match="give one"):
            function(a, ddof=1, correction=1)
    where, out = [True, False, True], np.zeros((2, 3))
    np.testing.assert_array_equal(sharedmem.clip(a, min=2, max=4), np.clip(a, 2, 4))
    np.testing.assert_array_equal(
        sharedmem.clip(a, 2, 4, out, where=where, dtype="f8"), [[2, 0, 4], [3, 0, 4]]
    )
    with pytest.raises(ValueError, match="other names"):
        sharedmem.clip(a, 2, min=2)
    records = np.array([(2, 1), (1, 2)], [("x", int), ("y", int)])
    for name, more in (("sort", ()), ("argsort", ()), ("partition", (0,))):
        found = getattr(sharedmem, name)(records, *more, order="x")
        np.testing.assert_array_equal(found, getattr(np, name)(records, *more, order="x"))
    assert [x.tolist() for x in sharedmem.histogram([1, 2], bins=[])] == [[], []]
