"""Teams that report failures and deaths of workers, and start others in their place."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal

import pytest

from interrupts import Strike
from leftovers import descriptors
from sharedmem.machine.signals import signals_held
from sharedmem.workers.channel import Kind
from sharedmem.workers.failures import describe_failure
from sharedmem.workers.process_team import ProcessTeam


def work(rank, port):
    while (message := port.receive()) and message.value:
        port.start(message.task)
        for item in message.value:
            if item == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if item == "fail":
                port.fail(message.task, describe_failure(ValueError("failed"), "Here"))
                return
            if item == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            port.pending.append(item)
        port.flush()
    port.finish()


@contextlib.contextmanager
def tolerant_team(n_workers=2):
    with signals_held():
        team = ProcessTeam(n_workers, work, "where {}".format, fed=True, tolerant=True)
    try:
        yield team
    finally:
        team.end(patient=False)


def send(team, rank, *items):
    team.send(rank, 0, team.take(0, iter(items), 10))


def receive_kinds(team, n):
    """Return kinds and values of the next `n` messages."""
    found = []
    while len(found) < n:
        found += [(rank, message.kind, message.value) for rank, message in team.receive(None)]
    return found


def test_a_death_is_a_message_after_all_that_the_worker_has_sent():
    with tolerant_team() as team:
        send(team, 1, 1, 2)
        send(team, 1, "die")
        first, second = receive_kinds(team, 2)
        assert first == (1, Kind.RESULTS, [1, 2])
        assert second[:2] == (1, Kind.DIED)
        assert second[2].exitcode == -signal.SIGKILL
        assert str(second[2]).startswith("Worker 1 (pid")
        assert "where 1" in str(second[2])


def test_a_failure_is_a_message():
    with tolerant_team() as team:
        send(team, 0, "fail")
        first, second = receive_kinds(team, 2)
        assert first[:2] == (0, Kind.FAILURE)
        assert repr(first[2].reason) == "ValueError('failed')"
        assert second[:2] == (0, Kind.DIED)  # It has ended without `finish`.


def test_another_worker_takes_the_place_of_a_dead_one():
    with tolerant_team(3) as team:
        for _ in range(5):
            send(team, 1, "die")
            assert receive_kinds(team, 1)[0][1] == Kind.DIED
            team.replace(1)
        for rank in range(3):
            send(team, rank, rank)
        assert sorted(receive_kinds(team, 3)) == [(r, Kind.RESULTS, [r]) for r in range(3)]
        for rank in range(3):
            send(team, rank)
        assert sorted(receive_kinds(team, 3)) == [(r, Kind.FINISHED, None) for r in range(3)]
        assert team.receive(None) == []


@pytest.mark.parametrize("item", [1, "stop"])
def test_a_worker_that_lives_can_be_replaced(item):
    with tolerant_team() as team:
        send(team, 0, item)
        team.replace(0)
        send(team, 0, 3)
        assert receive_kinds(team, 1) == [(0, Kind.RESULTS, [3])]


def test_one_worker_is_killed():
    with tolerant_team() as team:
        team.kill(1)
        assert receive_kinds(team, 1)[0][:2] == (1, Kind.DIED)
        send(team, 0, 5)
        assert receive_kinds(team, 1) == [(0, Kind.RESULTS, [5])]


@pytest.mark.slow
def test_replacements_leave_no_descriptor():
    with tolerant_team() as team:
        before = descriptors()
        for _ in range(200):
            team.replace(1)
        assert len(descriptors()) == len(before)


def test_a_refused_replacement_raises_and_leaves_nothing(monkeypatch):
    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with tolerant_team() as team:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", refuse)
            with pytest.raises(BlockingIOError) as caught:
                team.replace(1)
        assert "Worker 1 of 2 could not be started" in caught.value.__notes__[0]
        send(team, 0, 5)
        assert receive_kinds(team, 1) == [(0, Kind.RESULTS, [5])]
        team.replace(1)
        send(team, 1, 6)
        assert receive_kinds(team, 1) == [(1, Kind.RESULTS, [6])]


@pytest.mark.slow
def test_an_interrupt_at_any_call_of_a_replacement_loses_nothing():
    with tolerant_team() as team:
        for at in itertools.count(0, 11):
            n_before = len(descriptors())
            strike = Strike(at)
            with contextlib.suppress(KeyboardInterrupt), strike:
                team.replace(0)
            team.replace(0)
            assert len(descriptors()) == n_before
            send(team, 0, at)
            assert receive_kinds(team, 1) == [(0, Kind.RESULTS, [at])]
            if strike.n_left >= 0:
                break
        assert at > 30
