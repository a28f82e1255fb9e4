"""The generator is Philox, and the tables of distributions are correct."""

import numpy as np
import pytest
from scipy import stats

from sharedmem.kernels.random import distributions, poisson
from sharedmem.kernels.random.generators import WIDTH, fill_words, further_words, philox


def words(*numbers):
    return tuple(np.uint64(number) for number in numbers)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF, 0xFFFFFFFF),
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    assert philox(*words(*counter, *key)) == expected


def test_words_of_a_group_belong_to_its_counters():
    key = words(1, 2, 3)
    group = np.empty((4, WIDTH), np.uint32)
    first = 2**32 - 3  # the carry goes to the second word
    fill_words(np.uint64(first), key, group)
    for j in (0, 2, 3, WIDTH - 1):
        counter = words((first + j) % 2**32, (first + j) >> 32, 0, 3)
        assert tuple(group[:, j]) == philox(*counter, *words(1, 2))


def test_further_words_belong_to_the_element_and_the_attempt():
    a, b, c, d = philox(*words(5, 1, 7, 3, 1, 2))
    assert further_words(*words(2**32 + 5, 7), words(1, 2, 3)) == (a << 32 | b, c << 32 | d)


@pytest.mark.parametrize(
    ("tables", "density", "tail"),
    [
        (
            distributions.normal_tables(),
            lambda x: np.exp(-0.5 * x * x),
            lambda x: np.sqrt(2 * np.pi) * stats.norm.sf(x),
        ),
        (distributions.exponential_tables(), lambda x: np.exp(-x), lambda x: np.exp(-x)),
    ],
)
def test_layers_have_equal_areas_and_end_at_the_mode(tables, density, tail):
    edges, heights = tables
    np.testing.assert_allclose(heights, density(edges), rtol=1e-14)
    lowest = edges[1] * heights[1] + tail(edges[1])
    np.testing.assert_allclose(edges[1:-1] * np.diff(heights[1:]), lowest, rtol=1e-9)
    assert edges[0] * heights[1] == pytest.approx(lowest)
    assert edges[-1] == 0


@pytest.mark.parametrize("lam", [256.5, 1e4, 1e9])
def test_logarithms_of_poisson_probabilities(lam):
    for k in np.floor(lam + np.sqrt(lam) * np.array([-8.0, -1.0, 0.0, 1.0, 8.0])):
        expected = stats.poisson.logpmf(k, lam)
        assert poisson.log_poisson(k, lam) == pytest.approx(expected, rel=1e-6)
