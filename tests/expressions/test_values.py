"""Expressions computed in the registers of line kernels give the bits of arrays that hold them."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from sharedmem.expressions.expression import bound
from sharedmem.expressions.fusion import fuse, fuse_values
from sharedmem.expressions.parsing import parse
from sharedmem.kernels import counts, extrema, nan_reductions, products, sums, variances
from sharedmem.kernels.loops.pieces import finish_lines, reduce_together
from sharedmem.kernels.machine_code import alone
from sharedmem.machine import native_threads

F4, F8, I8 = map(np.dtype, ("f4", "f8", "i8"))
REDUCTIONS = {
    "mean": lambda dtype, n: sums.mean(dtype, F8, n),
    "sum": lambda dtype, n: sums.add(dtype, I8 if dtype.kind in "bi" else F8),
    "rough": lambda dtype, n: sums.add(dtype, F4),
    "var": lambda dtype, n: variances.variance(dtype, F8, 1),
    "std": lambda dtype, n: variances.deviation(dtype, F4),
    "nanmax": lambda dtype, n: nan_reductions.maximum(dtype),
    "min": lambda dtype, n: extrema.minimum(dtype),
    "prod": lambda dtype, n: products.multiply(dtype, F8),
    "count": lambda dtype, n: counts.count_nonzero(dtype),
}
# Of f and g, float64; s, float32; i, int32; b, boolean.
CALLS = [
    ("mean", "f*g"), ("sum", "s*s"), ("rough", "s - 0.5"), ("var", "f - g/3"),
    ("min", "where(b, s, i)"), ("prod", "1 + f*1e-3"), ("count", "(f > g) & ~b"),
    ("sum", "i*i - 7"), ("sum", "b | (i < 2)"), ("mean", "exp(-f*f)"), ("std", "s + 9"),
    ("nanmax", "sqrt(s)"), ("min", "b & (f > 0)"),
]  # fmt: skip
# Rows: short, in narrow lanes, in wide ones, and cut into pieces. Columns: few, some, and many.
SHAPES = [
    (1, 1, 1), (40, 3, 1), (70, 50, 1), (3, 1100, 1), (1, 70_000, 1),
    (2, 40, 3), (1, 70_000, 2), (3, 300, 17), (1, 600, 2500),
]  # fmt: skip


def in_threads(code, block):
    native_threads.run(code, block, 3)


@functools.cache
def arrays(shape):
    rng = np.random.default_rng(sum(shape))
    f, g, s = rng.normal(size=(3, *shape))
    i = rng.integers(-99, 99, shape).astype("i4")
    return {"f": f, "g": g, "s": s.astype("f4"), "i": i, "b": i % 3 == 0}


def values_of(text, values):
    """Return the elements of an expression, computed in registers, and its operands."""
    expression, names = bound(text, parse(text).steps, values)
    steps, dtypes, scalars = expression.steps, expression.dtypes, expression.scalars
    return fuse_values(steps, dtypes, scalars), [values[name] for name in names], expression


def array_of(expression, operands):
    """Return an array with the elements of an expression, as `evaluate` computes large ones."""
    steps, dtypes, scalars = expression.steps, expression.dtypes, expression.scalars
    kernel = fuse(steps, dtypes, scalars, is_exact=False)
    array = np.empty(operands[0].shape, kernel.dtype)
    kernel(operands, array, streams=False)
    return array


def call(name, expression, shape):
    """Return the arguments of `reduce_together` for one value, and its result."""
    values, operands, one = values_of(expression, arrays(shape))
    if values is None:  # no libmvec
        values, operands, one = values_of("f/g", arrays(shape))
    array = array_of(one, operands)
    reduction = REDUCTIONS[name](array.dtype, shape[1])
    wanted = reduction.finalize(reduction.chunk(array, alone))
    return reduction.spec(shape[1]), values.of(operands), wanted


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "expression"), CALLS[:5])
def test_values_in_registers_are_those_of_an_array(name, expression, shape):
    spec, value, wanted = call(name, expression, shape)
    (found,) = reduce_together([spec], [value], shape)
    assert found.dtype == wanted.dtype
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("share", [None, in_threads])
@pytest.mark.parametrize("shape", SHAPES)
def test_several_values_are_reduced_in_one_pass(shape, share):
    specs, values, wanted = zip(*(call(*one, shape) for one in CALLS), strict=True)
    plain = arrays(shape)["g"]
    mean = sums.mean(F8, F8, shape[1]).spec(shape[1])
    found = reduce_together([*specs, mean], [*values, plain], shape, share)
    for result, array in zip(found, [*wanted, finish_lines(mean, plain)], strict=True):
        assert result.tobytes() == array.tobytes()


@settings(max_examples=30)
@given(st.tuples(st.integers(1, 5), st.integers(1, 300), st.integers(1, 70)))
def test_any_shape_gives_the_same_bits(shape):
    specs, values, wanted = zip(*(call(*one, shape) for one in CALLS[:4]), strict=True)
    for result, array in zip(reduce_together(specs, values, shape), wanted, strict=True):
        assert result.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("expression", "dtype"),
    [("a * 1j", "c16"), ("a % 3", "f8"), ("a + 1", "f2"), ("a ** 3", "i8"), ("a < 300", "u1")],
)
def test_other_expressions_have_no_values_in_registers(expression, dtype):
    assert values_of(expression, {"a": np.ones(3, dtype)})[0] is None


@pytest.mark.parametrize("part", ["real", "imag"])
def test_parts_of_complex_numbers(part):
    z = np.arange(600).reshape(1, 600, 1) * (1 - 2j)
    values, operands, _ = values_of(f"{part}(z) + 1", {"z": z})
    spec = sums.add(F8, F8).spec(600)
    (result,) = reduce_together([spec], [values.of(operands)], z.shape)
    assert result == getattr(z, part).sum() + 600


def test_machine_code_without_addresses_is_kept():
    for expression, is_lasting in (("f*g", True), ("exp(f)", False)):
        values, *_ = values_of(expression, arrays((1, 1, 1)))
        assert values is None or values.formula.is_lasting == is_lasting
