"""What an expression may hold, and that nothing else gets in."""

import os

import numpy as np
import pytest

import sharedmem

A = np.arange(3.0)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a.real", r"'a\.real' .*Attribute"),
        ("a.__class__.__mro__", "Attribute"),
        ("__import__('os').system('true')", "none of the functions"),
        ("__import__('os')", "__import__ is none of the functions"),
        ("__builtins__", "underscores"),
        ("_\ufe4dclass_\ufe4d", "underscores"),
        ("a.__array_interface__", "Attribute"),
        ("a.tofile('x')", "none of the functions"),
        ("sin.__globals__", "Attribute"),
        ("sin(__class__)", "underscores"),
        ("getattr(a, 'T')", "getattr is none"),
        ("a[a.__class__]", "Subscript"),
        ("await a", "is no expression|Await"),
        ("(yield a)", "Yield"),
        ("eval('a')", "eval is none of the functions abs, "),
        ("exec('import os')", "exec is none"),
        ("print(a)", "print is none"),
        ("(lambda: a)()", "lambda: a is none"),
        ("lambda: a", "Lambda"),
        ("sin(a)(a)", "none of the functions"),
        ("a[0]", "Subscript"),
        ("[a for a in b]", "ListComp"),
        ("(a for a in b)", "GeneratorExp"),
        ("[a]", "List"),
        ("(a, a)", "Tuple"),
        ("{a: a}", "Dict"),
        ("'text'", "str is no number"),
        ("b'text'", "bytes is no number"),
        ("f'{a}'", "JoinedStr"),
        ("None", "NoneType is no number"),
        ("...", "ellipsis is no number"),
        ("a if a else a", "IfExp"),
        ("a @ a", "BinOp"),
        ("a in a", "In is not allowed"),
        ("a is a", "Is is not allowed"),
        ("(a := 1)", "NamedExpr"),
        ("a and a", "use & for and"),
        ("a or a", r"use \| for or"),
        ("not a", "use ~ for not"),
        ("sin(x=a)", "by position"),
        ("sin(*a)", "by position"),
        ("sin(a, a)", "sin takes 1 arguments, got 2"),
        ("where(a, a)", "where takes 3 arguments, got 2"),
        ("a < (a < a < a) < a", "chained"),
        ("a = 1", "is no expression"),
        ("a; a", "is no expression"),
        ("a\nimport os", "is no expression"),
        ("import os", "is no expression"),
        ("a\0", "is no expression"),
        ("", "is no expression"),
        ("a +", "is no expression"),
        ("a # comment\n)", "is no expression"),
        (f"a + {2**64}", "65 bits"),
        (f"a + {10**100}", "bits"),
        ("a + " + "9" * 5000, "is no expression"),
        ("a * 9 ** 9 ** 9", "more than 64 bits"),
        ("a * 2 ** 65", "more than 64 bits"),
        ("2 ** 64 * a", "65 bits"),
        ("a * (1 << 10 ** 9)", "more than 64 bits"),
        ("-" * 101 + "a", "nested more than 100"),
        ("sin(" * 120 + "a" + ")" * 120, "nested more than 100"),
        ("-" * 9000 + "a", "is no expression|nested"),
        ("(" * 1000 + "a" + ")" * 1000, "is no expression|nested"),
        ("+".join("a" * 200), "nested more than 100"),
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


def test_names_never_reach_the_compiler(monkeypatch):
    """A name may look like any of those that a kernel has, or of Python's."""
    monkeypatch.setattr("sharedmem.elementwise.PIECE", 1)
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
