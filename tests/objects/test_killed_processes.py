"""Shared objects and small arrays stay as they are when processes that have them are killed."""

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

import sharedmem

OWNER = """
import os, pickle, sys
import numpy as np, scipy.sparse, sharedmem

made = {
    "small": sharedmem.full(7, 3.0),
    "graph": sharedmem.share({"a": np.full(5, 3.0), "b": [np.full((200, 300), 3.0)]}),
    "matrix": sharedmem.share(scipy.sparse.csr_array(np.full((3, 4), 3.0))),
    "many": sharedmem.share([np.full(k, 3.0) for k in range(1, 200)]),
    "items": sharedmem.SharedList(np.full(k, 3.0) for k in range(1, 50)),
}
sys.stdout.buffer.write(pickle.dumps({name: pickle.dumps(x) for name, x in made.items()}))
sys.stdout.flush()
os.close(1)
sys.stdin.read()
"""
ARRAYS = {
    "small": lambda x: [x],
    "graph": lambda x: [x["a"], *x["b"]],
    "matrix": lambda x: [x.data],
    "many": list,
    "items": list,
}


def test_objects_outlive_their_owner():
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        pickles = pickle.loads(owner.stdout.read())
        found = {name: pickle.loads(stream) for name, stream in pickles.items()}
        owner.kill()
    others = [sharedmem.full(7, 1.0) for _ in range(1000)]
    for name, x in found.items():
        for array in ARRAYS[name](x):
            assert (array == 3).all()
            array += 1
        assert all((array == 4).all() for array in ARRAYS[name](x))
    assert all((array == 1).all() for array in others)
    # What this process has is found; the memory of others is gone.
    assert all(np.all(ARRAYS[name](pickle.loads(pickles[name]))[0] == 4) for name in pickles)
    del found, x, array
    for stream in pickles.values():
        with pytest.raises(ReferenceError, match="process has ended"):
            pickle.loads(stream)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_user_that_is_killed_leaves_the_rest_as_it_was(name):
    made = {
        "small": lambda: sharedmem.full(7, 3.0),
        "graph": lambda: sharedmem.share({"a": np.full(5, 3.0), "b": [np.full(60_000, 3.0)]}),
        "matrix": lambda: sharedmem.share(pytest.importorskip("scipy.sparse").eye_array(9) * 3.0),
        "many": lambda: sharedmem.share([np.full(k, 3.0) for k in range(1, 200)]),
        "items": lambda: sharedmem.SharedList(np.full(k, 3.0) for k in range(1, 50)),
    }[name]()

    def work(i):
        for array in ARRAYS[name](made):
            array[:] = 5
        os.kill(os.getpid(), signal.SIGKILL)

    with sharedmem.MapReduce(np=1) as pool, pytest.raises(sharedmem.WorkerException):
        pool.map(work, range(1))
    assert all((array == 5).all() for array in ARRAYS[name](made))
    fresh = [sharedmem.zeros(7) for _ in range(500)]
    assert all((array == 5).all() for array in ARRAYS[name](made))
    assert not any(array.any() for array in fresh)
