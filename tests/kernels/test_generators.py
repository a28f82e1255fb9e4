"""The generator is Philox, and the tables of distributions are correct."""

import ctypes

import numpy as np
import pytest
from scipy import stats

from sharedmem.kernels import machine_code
from sharedmem.kernels.emitted import bits
from sharedmem.kernels.loops.emit import Block, entry
from sharedmem.kernels.loops.layout import address_of
from sharedmem.kernels.random import distributions, generators, poisson
from sharedmem.kernels.random.generators import SHORT, WIDTH, Key


def run(emit, *words):
    """Run what ``emit(code, block)`` emits on a block of words; return the block."""
    code = entry()
    emit(code, Block(code))
    code.leave()
    block = (ctypes.c_uint64 * len(words))(*words)
    assert machine_code.assemble(str(code.module)).call(ctypes.addressof(block)) == 0
    return block


def store(code, block, numbers):
    for at, number in enumerate(numbers):
        block.counter(at).store(number, code.constant(0))


def philox(counter, key):
    def emit(code, block):
        words = [block.integer(at).as_vector() for at in range(6)]
        store(code, block, generators.philox(words[:4], words[4:]))

    return tuple(run(emit, *counter, *key)[:4])


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
    assert philox(counter, key) == expected


def test_words_of_a_group_belong_to_its_counters():
    def emit(code, block):
        numbers = [block.integer(at) for at in range(4)]
        code.call(generators.write_words, *numbers, block.numbers(4, SHORT))

    group = np.empty((4, WIDTH), np.uint32)
    first = 2**32 - 3  # the carry goes to the second word
    run(emit, first, 1, 2, 3, address_of(group))
    for j in (0, 2, 3, WIDTH - 1):
        counter = (first + j) % 2**32, (first + j) >> 32, 0, 3
        assert tuple(group[:, j]) == philox(counter, (1, 2))


def test_further_words_belong_to_the_element_and_the_attempt():
    def emit(code, block):
        element, attempt, *key = (block.integer(at) for at in range(5))
        store(code, block, generators.further_words(code, element, attempt, Key(*key)))

    a, b, c, d = philox((5, 1, 7, 3), (1, 2))
    assert run(emit, 2**32 + 5, 7, 1, 2, 3)[:2] == [a << 32 | b, c << 32 | d]


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
    def emit(code, block):
        store(code, block, [poisson.log_poisson(code, block.number(0), block.number(1)).bits()])

    for k in np.floor(lam + np.sqrt(lam) * np.array([-8.0, -1.0, 0.0, 1.0, 8.0])):
        found = np.array(run(emit, bits(k) % 2**64, bits(lam) % 2**64), np.uint64).view(float)[0]
        assert found == pytest.approx(stats.poisson.logpmf(k, lam), rel=1e-6)
