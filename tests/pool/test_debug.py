"""The debug switch can be set and read."""

import sharedmem


def test_debug_switch():
    assert sharedmem.get_debug() is False
    sharedmem.set_debug(1)
    try:
        assert sharedmem.get_debug() is True
    finally:
        sharedmem.set_debug(False)
