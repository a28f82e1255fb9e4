"""Pools in `with` blocks, in threads, forked processes, tasks, and generators."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st

import sharedmem
from interrupts import Strike
from sharedmem import MapReduce, MapReduceByThread, ProcessBackend, ThreadBackend, background
from sharedmem.pool.mapreduce import current_pool

A, B, C = POOLS = [MapReduce(np=1), MapReduce(np=2), MapReduce(np=3)]
BACKENDS = [(ProcessBackend, 0), (ProcessBackend, 2), (ThreadBackend, 2)]


@given(st.lists(st.integers(0, 2), max_size=6))
def test_with_blocks_of_pools_nest(order):
    outside = current_pool()

    def enter(rest, around):
        assert current_pool() is around
        if rest:
            with POOLS[rest[0]] as pool:
                enter(rest[1:], pool)
            assert current_pool() is around

    enter(order, outside)
    assert current_pool() is outside


@given(st.permutations([0, 0, 1, 2]), st.permutations(range(4)))
def test_with_blocks_may_end_in_any_order(order, leaving):
    outside = current_pool()
    stacks = [contextlib.ExitStack() for _ in order]
    for stack, at in zip(stacks, order, strict=True):
        stack.enter_context(POOLS[at])
    left = list(order)
    for k in leaving:
        stacks[k].close()
        at = len(left) - 1 - left[::-1].index(order[k])
        del left[at]
        assert current_pool() is (POOLS[left[-1]] if left else outside)


def test_each_thread_has_its_own_with_blocks():
    seen = []
    with A:
        thread = threading.Thread(target=lambda: seen.append(current_pool()))
        thread.start()
        thread.join()
        assert current_pool() is A
    assert seen[0] not in POOLS


def test_each_asyncio_task_has_its_own_with_blocks():
    async def enter(pool, mine, other):
        with pool:
            mine.set()
            await other.wait()
            seen = current_pool()
            inside = await asyncio.to_thread(current_pool)
        return seen is pool and inside is pool and current_pool() is outside

    async def main():
        events = [asyncio.Event(), asyncio.Event()]
        return await asyncio.gather(enter(A, *events), enter(B, *events[::-1]))

    outside = current_pool()
    assert asyncio.run(main()) == [True, True]


def test_a_generator_may_be_closed_in_another_thread():
    def generate():
        with A:
            yield current_pool()

    outside = current_pool()
    generator = generate()
    assert next(generator) is A
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    assert current_pool() is A  # of this thread, in which the block was entered
    with contextlib.ExitStack() as stack:
        stack.push(A)
    assert current_pool() is outside


def test_a_forked_process_may_leave_the_with_block_of_its_parent():
    with A:
        pid = os.fork()
        code = 1
        try:
            with contextlib.ExitStack() as stack:
                stack.push(A)
                inside = current_pool()
            code = 0 if pid or (inside is not A and current_pool() is not A) else 2
        finally:
            if not pid:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(("backend", "n"), BACKENDS)
def test_workers_do_not_use_the_pools_of_the_coordinator(backend, n):
    with MapReduce(backend, np=n) as pool:
        assert pool.map(lambda _: current_pool() is pool, range(3)) == [n == 0] * 3

        def enter(_):
            with A:
                return current_pool() is A

        assert pool.map(enter, range(3)) == [True] * 3
        assert current_pool() is pool
        assert background(lambda: current_pool() is pool, backend=backend).wait() is False


variable = contextvars.ContextVar("variable", default="default")


@pytest.mark.parametrize(("backend", "n"), BACKENDS)
def test_tasks_see_the_context_variables_of_the_caller(backend, n):
    pool = MapReduce(backend, np=n)
    token = variable.set("the caller's")
    try:
        see = lambda _: variable.get()  # noqa: E731
        assert pool.map(see, range(3)) == ["the caller's"] * 3
        assert list(pool.imap(see, range(3))) == ["the caller's"] * 3
        assert background(see, 0, backend=backend).wait() == "the caller's"
    finally:
        variable.reset(token)


def test_context_variables_set_by_a_task_stay_in_the_task():
    def change(i):
        before = variable.get()
        variable.set(i)
        return before

    def prepare():
        variable.set("prepared")

    pool = MapReduce(ThreadBackend, np=2, initializer=prepare)
    assert pool.map(change, range(6)) == ["prepared"] * 6
    assert list(pool.imap(change, range(6))) == ["prepared"] * 6
    assert variable.get() == "default"


@pytest.mark.parametrize(("backend", "n"), BACKENDS)
def test_error_state_and_print_options_of_numpy_hold_in_tasks(backend, n):
    pool = MapReduce(backend, np=n)

    def work(_):
        try:
            np.float64(1) / np.array([0.0])
        except FloatingPointError:
            return "raised", str(np.array([1 / 3]))
        return "not", str(np.array([1 / 3]))

    with np.errstate(divide="raise"), np.printoptions(precision=2):
        assert pool.map(work, range(3)) == [("raised", "[0.33]")] * 3
        assert list(pool.imap(work, range(3))) == [("raised", "[0.33]")] * 3
    with np.errstate(divide="ignore"):
        assert pool.map(work, range(3)) == [("not", "[0.33333333]")] * 3


def test_error_state_holds_where_array_calls_run_in_threads():
    ones, zeros = sharedmem.ones(3_000_000, "i8"), sharedmem.zeros(3_000_000, "i8")
    out = sharedmem.empty(3_000_000)
    with MapReduceByThread(np=2) as pool:
        for call in (
            lambda: pool.apply_ufunc(np.floor_divide, ones, zeros),
            lambda: pool.map_chunks(np.divide, ones, zeros, out=out),
        ):
            with np.errstate(divide="ignore"):
                call()
            with np.errstate(divide="raise"), pytest.raises(Exception, match="divide by zero"):
                call()


def interrupted(at, function, *args):
    """Interrupt a call at a moment; return whether it came."""
    try:
        sys.setprofile(Strike(at))
        function(*args)
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_a_pool_whose_block_was_interrupted_at_its_start_is_not_in_use():
    outside, pool, n_interrupts = current_pool(), MapReduce(np=2), 0
    while interrupted(n_interrupts, pool.__enter__):
        assert current_pool() is outside
        n_interrupts += 1
    pool.__exit__(None, None, None)
    assert n_interrupts > 5


def test_no_task_is_left_running_where_a_serial_pool_is_interrupted():
    pool, n_interrupts = MapReduce(np=0), 0
    while interrupted(n_interrupts, pool.map, abs, range(2)):
        assert pool._contexts.of_thread.context is None
        n_interrupts += 1
    assert n_interrupts > 50
