"""The loop of an executor's worker: run each call that it was sent, and answer with its outcome."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.machine import foreign_libraries
from sharedmem.memory import open_files
from sharedmem.workers.attention import heed
from sharedmem.workers.failures import describe_failure
from sharedmem.workers.functions import pack_result
from sharedmem.workers.pickling import UnpackingError
from sharedmem.workers.process_port import ProcessPort
from sharedmem.workers.task_context import enter_claims
from sharedmem.workers.tickets import Tickets

# What is told about the worker itself, and not about a call.
OF_WORKER = -1


def serve(
    initialize: Callable[[], object] | None,
    blas_threads: int | None,
    tickets: Tickets,
    attention: bytes,
    rank: int,
    port: ProcessPort,
) -> None:
    """Run the calls that the coordinator sends, until it sends an empty message.

    Parameters
    ----------
    initialize : callable or None
        Called before the first call.
    blas_threads : int or None
        Threads of BLAS and OpenMP libraries; None sets no limit.
    tickets : Tickets
        By which the coordinator recalls what it has sent.
    attention : bytes
        The warnings and records that the coordinator wants to hear.
    rank, port
        The number of the worker, and its side of the team.
    """
    enter_claims()
    heed(attention)
    port.speak(rank)
    try:
        _set_up(initialize, blas_threads)
    except BaseException as error:
        port.fail(OF_WORKER, describe_failure(error, f"The initializer in worker {rank}"))
        return
    port.answer(OF_WORKER, pack_result([None]))
    # A function of its own: no variable keeps what a call has used while the worker waits.
    while _serve_next(tickets, rank, port):
        pass
    open_files.flush()
    port.finish()


def _set_up(initialize: Callable[[], object] | None, blas_threads: int | None) -> None:
    if blas_threads is not None:
        foreign_libraries.limit_threads(blas_threads)
    if foreign_libraries.has_global_generators():
        foreign_libraries.seed_generators(np.random.SeedSequence().generate_state(8))
    if initialize is not None:
        initialize()
    open_files.watch_writers()


def _serve_next(tickets: Tickets, rank: int, port: ProcessPort) -> bool:
    try:
        message = port.receive()
    except UnpackingError as error:
        if tickets.take(rank, error.index):
            _fail(error.reason, error.index, rank, port)
        return True
    if message is None or not message.value:
        return False
    # Small calls come in a list, another one alone.
    calls = message.value if type(message.value) is list else [message.value]
    calls.reverse()
    while calls:  # Each is forgotten when it is done.
        _run(calls.pop(), message.task, tickets, rank, port)
    return True


def _run(call: Any, stamp: int, tickets: Tickets, rank: int, port: ProcessPort) -> None:
    """Run a call, unless it was recalled; small ones are streams, which are unpickled now."""
    if not tickets.take(rank, stamp):
        return
    try:
        func, args, options = pickle.loads(call) if type(call) is bytes else call
        del call
        result = func(*args, **options)
        del func, args, options
        try:
            port.answer(stamp, pack_result([result]))
        except BaseException as error:
            error.add_note(
                f"The result, of type {type(result).__name__}, is pickled to reach the "
                "coordinator: return data, or write to a shared array."
            )
            raise
    except BaseException as error:
        _fail(error, stamp, rank, port)


def _fail(error: BaseException, stamp: int, rank: int, port: ProcessPort) -> None:
    port.fail(stamp, describe_failure(error, f"A call in worker {rank}"))
