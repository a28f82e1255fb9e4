"""Held signals reach handlers and event loops once."""

import asyncio
import os
import signal
import socket

import pytest

from sharedmem import MapReduce
from sharedmem.machine.signals import signals_held


@pytest.fixture
def wakeup():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno())
        yield ours
        signal.set_wakeup_fd(before)


@pytest.mark.parametrize("n", [1, 3])
def test_a_held_signal_wakes_an_event_loop_once(wakeup, n):
    n_handled = 0

    def note(*_):
        nonlocal n_handled
        n_handled += 1

    before = signal.signal(signal.SIGUSR1, note)
    with signals_held():
        for _ in range(n):
            os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(BlockingIOError):
            wakeup.recv(10)
        assert n_handled == 0
    assert wakeup.recv(10) == bytes([signal.SIGUSR1] * n)
    assert n_handled == 1
    os.kill(os.getpid(), signal.SIGUSR1)
    assert wakeup.recv(10) == bytes([signal.SIGUSR1])
    signal.signal(signal.SIGUSR1, before)


def test_the_wakeup_descriptor_is_restored_if_a_handler_raises(wakeup):
    with pytest.raises(KeyboardInterrupt), signals_held():
        signal.raise_signal(signal.SIGINT)
    assert wakeup.recv(10) == bytes([signal.SIGINT])
    assert signal.set_wakeup_fd(-1) >= 0


def test_asyncio_gets_each_signal_once():
    async def main():
        n_calls = 0

        def count():
            nonlocal n_calls
            n_calls += 1

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, count)
        pool = MapReduce(np=1)
        for _ in range(20):
            pool.map(lambda i: os.kill(os.getppid(), signal.SIGUSR1), range(1))
            await asyncio.sleep(0.001)
        loop.remove_signal_handler(signal.SIGUSR1)
        return n_calls

    assert asyncio.run(main()) == 20
