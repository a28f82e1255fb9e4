"""Slow and obvious reference implementations."""

import math
from fractions import Fraction

import numpy as np


def exact_sum(values):
    return math.fsum(values.ravel().tolist())


def exact_dot(a, b):
    """Return the sum of products, which are counted in units of the smallest one of doubles."""
    unit = 2 * 1074
    products = 0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        (p, q), (r, s) = x.as_integer_ratio(), y.as_integer_ratio()
        products += (p * r << unit) // (q * s)
    return float(Fraction(products, 1 << unit))


def exact_variance(values):
    numbers = [Fraction(value) for value in values.ravel().tolist()]
    mean = sum(numbers) / len(numbers)
    return float(sum((number - mean) ** 2 for number in numbers) / len(numbers))


def ulps(value, reference):
    """Return the distance of `value` from `reference` in units in the last place."""
    return abs(float(value) - float(reference)) / np.spacing(abs(float(reference)) or 1.0)
