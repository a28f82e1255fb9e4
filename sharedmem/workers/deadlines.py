"""Deadlines, in seconds of the monotonic clock, and waits that end at them."""

from __future__ import annotations

import time

# The longest timeout that epoll takes; longer waits are done in parts.
_LONGEST_WAIT = 1e6


class OverdueError(TimeoutError):
    """Raised if nothing arrives by the deadline; signal handlers never raise this type."""


def deadline_in(timeout: float | None) -> float | None:
    """Return the deadline `timeout` seconds from now; None for no timeout."""
    return None if timeout is None else time.monotonic() + timeout


def remaining(deadline: float | None) -> float | None:
    """Return the seconds to wait until `deadline`, at least 0, or for as long as can be waited."""
    return None if deadline is None else min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT)


def is_over(deadline: float | None) -> bool:
    """Return whether the deadline has passed."""
    return deadline is not None and time.monotonic() >= deadline
