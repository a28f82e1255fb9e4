"""The record of numbers that steer the engine."""

import dataclasses

import pytest

from harness import families
from sharedmem.machine.tuning import NOT_MEASURED, Tuning

NUMBERS = dataclasses.fields(Tuning)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_each_number_names_its_unit_and_a_benchmark_row(number):
    assert number.default > 0
    assert number.metadata["unit"]
    row = number.metadata["row"]
    assert row == NOT_MEASURED or row in families.selected([row])


def test_a_tuned_number_is_read_at_the_next_call(tuned):
    from sharedmem import chunks

    tuned(chunk_bytes=80)
    assert len(chunks(100)) == 10
