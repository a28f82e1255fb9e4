"""Tracebacks of tasks, as the coordinator shows them."""

import gc
import io
import pdb
import traceback
import weakref

import pytest

import sharedmem
from sharedmem import MapReduce, WorkerException
from sharedmem.workers.tracebacks import stack_of, traceback_of


def invert(x):
    try:
        return 1 // x
    except ZeroDivisionError as error:
        raise ValueError(f"{x} has no inverse") from error


def failing(pool, function, items):
    with pytest.raises(WorkerException) as caught:
        pool.map(function, items)
    return caught.value


def shown(error):
    return "".join(traceback.format_exception(error))


def functions(trace):
    return [frame.f_code.co_name for frame, _ in traceback.walk_tb(trace)]


def test_the_reason_has_the_traceback_of_the_worker(backend):
    error = failing(MapReduce(backend, np=2), lambda i: invert(i), [1, 0])
    assert functions(error.reason.__traceback__) == ["<lambda>", "invert"]
    assert functions(error.reason.__cause__.__traceback__) == ["invert"]


def test_the_text_is_that_of_the_worker_to_the_last_character():
    def work(i):
        try:
            invert(i)
        except ValueError as error:
            told.append(shown(error.with_traceback(error.__traceback__.tb_next)))
            raise error.with_traceback(error.__traceback__.tb_next) from error.__cause__

    told = []
    with pytest.raises(ValueError, match="no inverse"):
        work(0)
    error = failing(MapReduce(np=1), invert, [0])
    assert shown(error.reason) == told[0]


@pytest.mark.parametrize("relation", ["cause", "context", "none"])
def test_chains_of_exceptions_are_sent_as_they_are(relation):
    def work(i):
        try:
            raise KeyError(i)
        except KeyError as error:
            if relation == "context":
                raise OSError(2, "text")  # noqa: B904
            raise OSError(2, "text") from (error if relation == "cause" else None)

    reason = failing(MapReduce(np=1), work, [0]).reason
    assert type(reason) is FileNotFoundError
    assert (type(reason.__cause__) is KeyError) == (relation == "cause")
    if not reason.__suppress_context__:
        assert (type(reason.__context__) is KeyError) == (relation == "context")


def test_a_chain_may_be_a_ring_and_have_what_cannot_be_pickled():
    def work(i):
        first, second = ValueError(1), ValueError(lambda: None)
        first.__cause__, second.__cause__ = second, first
        raise first

    reason = failing(MapReduce(np=1), work, [0]).reason
    assert type(reason) is ValueError
    assert type(reason.__cause__) is Exception
    assert "ValueError: <function" in str(reason.__cause__)


def test_recursion_without_end_is_shown():
    def work(i):
        return work(i)

    trace = failing(MapReduce(np=1), work, [0]).reason.__traceback__
    assert set(functions(trace)) == {"work"}
    assert len(functions(trace)) > 900


def test_pdb_shows_the_lines_of_the_worker():
    error = failing(MapReduce(np=1), invert, [0])
    output = io.StringIO()
    debugger = pdb.Pdb(stdin=io.StringIO("where\nlist\nquit\n"), stdout=output)
    debugger.reset()
    debugger.interaction(None, error.__cause__.__traceback__)
    assert "test_tracebacks.py" in output.getvalue()
    assert '->\t        raise ValueError(f"{x} has no inverse") from error' in output.getvalue()


def test_calls_of_this_package_are_not_shown(backend):
    error = failing(MapReduce(backend, np=2), invert, [1, 0])
    assert functions(error.__traceback__) == ["failing", "map"]
    with pytest.raises(WorkerException) as caught:
        list(MapReduce(backend, np=2).imap(invert, [1, 0]))
    assert functions(caught.value.__traceback__)[1:] == ["run_imap"]


def test_calls_of_users_in_the_coordinator_are_shown():
    inner = MapReduce(np=1)

    def reduce(result):
        return inner.map(invert, [result])

    with pytest.raises(WorkerException) as caught:
        MapReduce(np=1).map(abs, [0], reduce=reduce)
    assert functions(caught.value.__traceback__)[-1] == "reduce"


def test_the_traceback_of_a_worker_of_a_worker_is_sent_on():
    def outer(i):
        return MapReduce(np=1).map(invert, [i])

    error = failing(MapReduce(np=1), outer, [0])
    assert functions(error.reason.__traceback__) == ["outer", "map"]
    assert functions(error.reason.reason.__traceback__) == ["invert"]


def test_an_exception_keeps_nothing_of_the_coordinator_alive():
    class Large:
        pass

    def call():
        large = Large()
        try:
            MapReduce(np=1).map(invert, [0])
        except WorkerException as error:
            return weakref.ref(large), error.reason

    gc.disable()
    try:
        large, reason = call()
        assert large() is None
    finally:
        gc.enable()
    assert functions(reason.__traceback__) == ["invert"]


def test_exceptions_that_are_results_have_no_traceback():
    def work(i):
        try:
            return 1 // i
        except ZeroDivisionError as error:
            return error

    (result,) = sharedmem.MapReduce(np=1).map(work, [0])
    assert result.__traceback__ is None


def test_code_without_lines_and_columns_has_a_traceback():
    code = compile("1 // 0", "nowhere\n.py", "eval").replace(co_linetable=b"", co_firstlineno=0)
    with pytest.raises(ZeroDivisionError) as caught:
        eval(code)
    trace = caught.value.__traceback__.tb_next
    assert shown(ZeroDivisionError().with_traceback(traceback_of(stack_of(trace))))


def test_exceptions_of_futures_show_the_lines_of_the_worker():
    with sharedmem.Executor(np=1) as executor, pytest.raises(ValueError, match="inverse") as caught:
        executor.submit(invert, 0).result()
    assert functions(caught.value.__traceback__)[-1] == "invert"
