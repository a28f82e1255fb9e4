"""The debug switch."""

import sharedmem


def test_set_debug_and_get_debug():
    assert sharedmem.get_debug() is False
    sharedmem.set_debug(1)
    try:
        assert sharedmem.get_debug() is True
    finally:
        sharedmem.set_debug(False)
