"""Another interpreter, which loads objects that tests share."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# Runs programs that it receives, each with an object `x`, and answers with their `answer`.
OTHER = """
import pickle, sys
def received():
    size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    return sys.stdin.buffer.read(size)
while stream := received():
    names = {"x": pickle.loads(stream), "answer": None}
    try:
        exec(pickle.loads(received()), names)
        answer = pickle.dumps(names["answer"])
    except BaseException as error:
        answer = pickle.dumps(error)
    names.clear()
    sys.stdout.buffer.write(len(answer).to_bytes(8, "big") + answer)
    sys.stdout.buffer.flush()
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Return a function that runs a program in another interpreter, with a pickled object `x`."""
    command = [sys.executable, "-c", OTHER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def run(program: str, obj: object) -> Any:
            for stream in pickle.dumps(obj), pickle.dumps(program):
                process.stdin.write(len(stream).to_bytes(8, "big") + stream)
            process.stdin.flush()
            size = int.from_bytes(process.stdout.read(8), "big")
            answer = pickle.loads(process.stdout.read(size))
            if isinstance(answer, BaseException):
                raise answer
            return answer

        yield run
        process.stdin.write(bytes(8))
        process.stdin.flush()
