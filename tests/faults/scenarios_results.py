"""Results and exceptions of tasks that cannot be pickled, are huge, or are many."""

from __future__ import annotations

import itertools
import os
import time

import numpy as np

import sharedmem
from scenario import BOTH, Stage, scenario, throw
from sharedmem import LostExceptionType, WorkerException

FAILS = {"raises": WorkerException, "workers": (1, 5)}


class Reduced:
    """An object that is pickled as a call of the given function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Unpicklable:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self):
        raise self.error


RESULTS = {
    "a_lambda": (lambda: lambda: 0, AttributeError),
    "pickling_exits": (lambda: Unpicklable(SystemExit(3)), SystemExit),
    "pickling_interrupts": (lambda: Unpicklable(KeyboardInterrupt()), KeyboardInterrupt),
}
for name, (make, reason) in RESULTS.items():

    @scenario(9, name=f"a_result_{name}", reason=reason, text=r"Task \d+ in worker \d+", **FAILS)
    def result_cannot_be_pickled(stage: Stage, make=make) -> None:
        stage.pool.map(lambda i: make() if i == stage.victim else i, range(20))


for name, error in {
    "fails": ValueError("the text"), "exits": SystemExit(3), "leaves": GeneratorExit()
}.items():  # fmt: skip

    @scenario(
        9,
        name=f"unpickling_a_result_{name}",
        reason=type(error),
        text=r"The result of task \d+, sent by worker \d+ .* cannot be unpickled",
        **FAILS,
    )
    def result_cannot_be_unpickled(stage: Stage, error=error) -> None:
        stage.pool.map(
            lambda i: Reduced(throw, error) if i == stage.victim else i, range(20), chunksize=1
        )


@scenario(9, reason=AttributeError, text="lambda", **FAILS)
def an_unpicklable_result_of_imap(stage: Stage) -> None:
    list(stage.pool.imap(lambda i: (lambda: 0) if i == 17 else i, itertools.count()))


@scenario(9, raises=AttributeError, text="lambda", workers=(1, 5))
def an_unpicklable_item_of_imap(stage: Stage) -> None:
    list(stage.pool.imap(callable, (lambda: 0 for _ in range(100))))


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class ExitingTextError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class TwoArgumentsError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class KeptArgumentsError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)


class PicklingExitsError(Exception):
    def __reduce__(self):
        raise SystemExit(3)


class UnpicklingFailsError(Exception):
    def __reduce__(self):
        return throw, (ValueError("not here"),)


class OwnBaseException(BaseException):
    pass


def local_error() -> Exception:
    class LocalError(Exception):
        pass

    return LocalError("the text")


EXCEPTIONS = {
    "without_a_text": (MuteError, {"reason": MuteError}),
    "whose_text_exits": (lambda: ExitingTextError(lambda: 0), {"reason": Exception}),
    "with_100_MiB_of_text": (
        lambda: ValueError("x" * (100 << 20)),
        {"reason": ValueError, "text": "characters left out"},
    ),
    "of_two_arguments": (
        lambda: TwoArgumentsError(5, "the text"),
        {"reason": Exception, "text": "TwoArgumentsError: 5: the text"},
    ),
    "of_two_kept_arguments": (
        lambda: KeptArgumentsError(5, "the text"),
        {"reason": KeptArgumentsError, "text": r"\(5, 'the text'\)"},
    ),
    "of_a_local_type": (local_error, {"reason": Exception, "text": "LocalError: the text"}),
    "whose_pickling_exits": (PicklingExitsError, {"reason": Exception}),
    "whose_unpickling_fails": (UnpicklingFailsError, {"reason": Exception}),
    "of_a_group": (
        lambda: ExceptionGroup("both", [OSError(5, "one"), ValueError("two")]),
        {"reason": ExceptionGroup, "text": "(?s)both.*one.*two"},
    ),
    "that_is_none": (lambda: OwnBaseException("the text"), {"reason": OwnBaseException}),
}
for name, (make, expected) in EXCEPTIONS.items():

    @scenario(
        10,
        name=f"an_exception_{name}",
        **{"text": "Task", **expected, **FAILS},
        warns=LostExceptionType if expected["reason"] is Exception else None,
    )
    def exception_travels(stage: Stage, make=make) -> None:
        stage.pool.map(lambda i: throw(make()) if i == stage.victim else i, range(20))


@scenario(10, reason=ValueError, text="(?s)ZeroDivisionError.*direct cause.*a note", **FAILS)
def an_exception_with_a_cause_and_notes(stage: Stage) -> None:
    def work(i: int) -> None:
        try:
            throw(ZeroDivisionError())
        except ZeroDivisionError as error:
            new = ValueError("the text")
            new.add_note("a note")
            raise new from error

    try:
        stage.pool.map(work, range(5))
    except WorkerException as error:
        assert error.reason.__notes__ == ["a note"]
        assert error.__cause__ is error.reason
        raise


@scenario(11, backends=BOTH)
def results_of_all_sizes(stage: Stage) -> None:
    sizes = [0, 1, 1000, 1 << 16, 3 << 20, 0, 100 << 20, 5]
    results = stage.pool.map(lambda n: np.full(n, n % 100, np.uint8), sizes)
    assert [len(result) for result in results] == sizes
    assert all((result == n % 100).all() for n, result in zip(sizes, results, strict=True))


@scenario(11, is_long=True, workers=(2,), limit=60)
def a_result_of_three_gibibytes(stage: Stage) -> None:
    (result, _) = stage.pool.map(lambda n: np.ones(n, np.uint8), [3 << 30, 1])
    assert len(result) == 3 << 30
    assert result[-1] == 1


@scenario(11, backends=BOTH, workers=(2,))
def a_million_results(stage: Stage) -> None:
    assert stage.pool.map(abs, range(10**6)) == list(range(10**6))


@scenario(11, backends=BOTH)
def a_slow_consumer(stage: Stage) -> None:
    results = stage.pool.imap(lambda i: bytes(1 << 20), itertools.count())
    next(results)
    before = resident_bytes()
    time.sleep(0.2)
    assert resident_bytes() - before < 64 << 20
    assert len(list(itertools.islice(results, 20))) == 20
    results.close()


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@scenario(11, backends=BOTH)
def imap_dropped_and_closed(stage: Stage) -> None:
    for imap in (stage.pool.imap, stage.pool.imap_unordered):
        dropped = imap(lambda i: -i, itertools.count())
        closed = imap(lambda i: -i, itertools.count())
        next(dropped)
        next(closed)
        next(closed)
        del dropped
        closed.close()
        imap(abs, itertools.count())  # no result is taken


@scenario(12)
def shared_arrays_as_results(stage: Stage) -> None:
    inherited = sharedmem.full(1000, 7)

    def work(i: int) -> tuple[object, ...]:
        inherited[i] = i
        return sharedmem.full(3, i), inherited[i::2], np.float64(i)

    def check(new: np.ndarray, view: np.ndarray, i: float) -> None:
        assert type(new) is type(view) is sharedmem.SharedArray
        assert new.tolist() == [i, i, i]
        assert np.shares_memory(view, inherited)
        assert view[0] == i

    stage.pool.map(work, range(300), reduce=check)


@scenario(12, raises=WorkerException, reason=ReferenceError, text="no descriptor", workers=(1, 5))
def no_descriptor_for_a_shared_result(stage: Stage) -> None:
    import resource

    def work(i: int) -> object:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        return [sharedmem.full(10_000, k) for k in range(100)]

    stage.pool.map(work, range(5))
