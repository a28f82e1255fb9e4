"""The language of expressions: what is accepted, and that all else is refused."""

import functools
import os

import numpy as np
import pytest

import sharedmem

A = np.arange(3.0)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a.real", r"'a\.real' .*attribute .* real\(a\)"),
        ("a.__class__.__mro__", "give the attribute as an array"),
        ("__import__('os').system('true')", "not one of the functions"),
        ("__import__('os')", "__import__ is not one of the functions"),
        ("__builtins__", "underscores"),
        ("_\ufe4dclass_\ufe4d", "underscores"),
        ("a.__array_interface__", "give the attribute as an array"),
        ("a.tofile('x')", "not one of the functions"),
        ("sin.__globals__", "give the attribute as an array"),
        ("sin(__class__)", "underscores"),
        ("getattr(a, 'T')", "getattr is not one"),
        ("a[a.__class__]", "give the part as an array"),
        ("await a", "is not an expression|Await"),
        ("(yield a)", "Yield"),
        ("eval('a')", "eval is not one of the functions abs, "),
        ("exec('import os')", "exec is not one"),
        ("print(a)", "print is not one"),
        ("(lambda: a)()", "lambda: a is not one"),
        ("lambda: a", "Lambda"),
        ("sin(a)(a)", "not one of the functions"),
        ("a[0]", r"cannot be evaluated: give the part as an array: .* x=a\[0\]"),
        ("[a for a in b]", "ListComp"),
        ("(a for a in b)", "GeneratorExp"),
        ("[a]", "give the list as an array"),
        ("(a, a)", "give the tuple as an array"),
        ("{a: a}", "Dict"),
        ("'text'", "str is not a number"),
        ("b'text'", "bytes is not a number"),
        ("f'{a}'", "JoinedStr"),
        ("None", "NoneType is not a number"),
        ("...", "ellipsis is not a number"),
        ("a if a else a", r"'a if a else a' .*use where\(condition, x, y\)"),
        ("a @ a", "use sharedmem.dot, .* for @"),
        ("a in a", "In is not allowed; only <, <=, "),
        ("a is a", "Is is not allowed"),
        ("(a := 1)", "NamedExpr"),
        ("a and a", "use & for and"),
        ("a or a", r"use \| for or"),
        ("not a", "use ~ for not"),
        ("sin(x=a)", "must be positional"),
        ("sin(*a)", "must be positional"),
        ("sin(a, a)", "sin takes 1 arguments, got 2"),
        ("where(a, a)", "where takes 3 arguments, got 2"),
        ("a < (a < a < a) < a", "chained"),
        ("a = 1", "is not an expression"),
        ("a; a", "is not an expression"),
        ("a\nimport os", "is not an expression"),
        ("import os", "is not an expression"),
        ("a\0", "is not an expression"),
        ("", "is not an expression"),
        ("a +", "is not an expression"),
        ("a # comment\n)", "is not an expression"),
        (f"a + {2**64}", "65 bits"),
        (f"a + {10**100}", "bits"),
        ("a + " + "9" * 5000, "is not an expression"),
        ("a * 9 ** 9 ** 9", "more than 64 bits"),
        ("a * 2 ** 65", "more than 64 bits"),
        ("2 ** 64 * a", "65 bits"),
        ("a * (1 << 10 ** 9)", "more than 64 bits"),
        ("-" * 101 + "a", "nested more than 100"),
        ("sin(" * 120 + "a" + ")" * 120, "nested more than 100"),
        ("-" * 9000 + "a", "is not an expression|nested"),
        ("(" * 1000 + "a" + ")" * 1000, "is not an expression|nested"),
        ("a" * 10_001, "10001 characters"),
    ],
)
def test_everything_else_is_refused(expression, message):
    with pytest.raises(ValueError, match=message):
        sharedmem.evaluate(expression, a=A)


@pytest.mark.parametrize("expression", [b"a", None, 3, compile("a", "", "eval")])
def test_an_expression_is_text(expression):
    with pytest.raises(TypeError, match="must be a str"):
        sharedmem.evaluate(expression, a=A)


def test_names_never_reach_the_compiler(tuned):
    """A name may look like any of those that a kernel has, or of Python's."""
    tuned(expression_piece_length=1)
    names = ("result", "work", "x0", "s0", "k0", "loop0", "to_float64", "kernel", "print", "_", "é")
    for name in names:
        values = sharedmem.evaluate(f"exp({name}) + 0 * {name}", **{name: A})
        np.testing.assert_allclose(values, np.exp(A), rtol=1e-15)


def test_nothing_is_run(monkeypatch):
    calls = []
    monkeypatch.setattr(os, "system", calls.append)
    for text in ("os.system('x')", "__import__('os').system('x')", "sin(os.system('x'))"):
        with pytest.raises(ValueError, match="cannot be evaluated"):
            sharedmem.evaluate(text, a=A, os=A)
    assert calls == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (" a\t+ 1 ", A + 1),
        ("0x10 + 1_0 * a", 16 + 10 * A),
        ("-a ** 2", -(A**2)),
        ("2 ** 10 * a", 1024 * A),
        ("2 ** -1 * a", A / 2),
        ("1e400 - a", np.inf - A),
        ("~(a > 1)", A <= 1),
        ("~True | (a > 1)", A > 1),
        ("1j * a", 1j * A),
        ("7 // 2 % 2 * a", A),
        ("clip(a, 0.5, 1)", A.clip(0.5, 1)),
        ("pi * a + e", np.pi * A + np.e),
    ],
)
def test_what_is_allowed_means_what_it_means_to_python(expression, expected):
    np.testing.assert_array_equal(sharedmem.evaluate(expression, a=A), expected)


def test_a_division_of_numbers_by_zero_is_pythons():
    with pytest.raises(ZeroDivisionError):
        sharedmem.evaluate("1 / 0 * a", a=A)


def chain(operator, n):
    """Return an expression, and its value by NumPy, from left to right."""
    names = [f"x{at}" for at in range(n)]
    arrays = {name: A / 9 + 0.9 + at / 2000 for at, name in enumerate(names)}
    if operator.isalpha():
        by = getattr(np, operator)
        text = functools.reduce(lambda x, y: f"{operator}({x}, {y})", names)
    else:
        by = {"+": np.add, "*": np.multiply, "-": np.subtract, "|": np.bitwise_or}[operator]
        text = f" {operator} ".join(names)
    if operator == "|":
        arrays = {name: x > 1.2 for name, x in arrays.items()}
    return text, arrays, functools.reduce(by, arrays.values())


@pytest.mark.parametrize("piece", [1, 1 << 16])
@pytest.mark.parametrize(
    ("operator", "n"), [("+", 400), ("*", 260), ("-", 260), ("|", 260), ("minimum", 150)]
)
def test_chains_may_be_long(tuned, operator, n, piece):
    tuned(expression_piece_length=piece)
    text, arrays, expected = chain(operator, n)
    result = sharedmem.evaluate(text, **arrays)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == expected.dtype


@pytest.mark.parametrize(
    "text", ["a + (" * 150 + "a" + ")" * 150, "(" * 150 + "a" + ") * b - 1" * 150, "a" + "<a" * 150]
)
def test_chains_are_no_deeper_from_the_right_or_of_several_operators(text):
    b = A + 0.5
    with np.errstate(all="ignore"):
        expected = eval(text, {"a": A, "b": b}) if "<" not in text else A < A
    arrays = {"a": A, "b": b} if "b" in text else {"a": A}
    np.testing.assert_array_equal(sharedmem.evaluate(text, **arrays), expected)


def test_long_expressions_fail_clearly():
    with pytest.raises(ValueError, match="cannot be evaluated: total is not one of the functions"):
        sharedmem.evaluate("total(" + " + ".join("a" * 1000) + ")", a=A)
    with pytest.raises(ValueError, match=r"more terms than Python's parser accepts"):
        sharedmem.evaluate("+".join("a" * 5000), a=A)
    with pytest.raises(ValueError, match="nested more than 100"):
        sharedmem.evaluate("-(1 + " * 60 + "a" + ")" * 60, a=A)


def test_arrays_by_a_mapping():
    out = sharedmem.empty(3)
    arrays = {"out": A, "arrays": 2, "named": A, "unused": "text"}
    assert sharedmem.evaluate("out * arrays + named + a", arrays, out=out, a=A) is out
    np.testing.assert_array_equal(out, 4 * A)
    assert sharedmem.evaluate("expression + 1", expression=A).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"no array is given for out; .*in a mapping, \{'out'"):
        sharedmem.evaluate("out + 1", out=A)
    with pytest.raises(TypeError, match=r"must be a mapping .* got SharedArray; .* as out="):
        sharedmem.evaluate("a + 1", out, a=A)
    with pytest.raises(TypeError, match="a are given in the mapping and by name"):
        sharedmem.evaluate("a + 1", {"a": A}, a=A)
