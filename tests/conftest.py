"""Fail each test that leaves a process, a thread, a descriptor, or memory behind."""

import gc
import signal
import time
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from leftovers import look, new_in, own_shared_memory_files

GRACE_SECONDS = 2.0

own_shared_memory_files()

# Examples have no time limit, and all examples of a test share its fixtures.
settings.register_profile(
    "ours",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ours")

# A shell starts programs in the background with SIGINT ignored, which child processes inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


failed = pytest.StashKey[bool]()
# What there was after the last test, unless a fixture of several tests is set up for the next one.
seen = pytest.StashKey[dict[str, set[str]] | None]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[failed] = item.stash.get(failed, False) or report.failed
    return report


class FixturesOfSeveralTests:
    """A plugin, since pytest does not tell a conftest.py of fixtures of the session."""

    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> None:
        if fixturedef.scope != "function":
            request.config.stash[seen] = None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FixturesOfSeveralTests())


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    # Where thousands of mappings are listed, a look takes longer than many tests.
    before = request.config.stash.get(seen, None) or look()
    request.config.stash[seen] = None
    yield
    if request.node.stash[failed]:
        return  # its traceback keeps objects alive
    deadline = time.monotonic() + GRACE_SECONDS
    while left := new_in(now := look(), before):
        if time.monotonic() > deadline:
            pytest.fail(f"the test left behind {left}")
        gc.collect()
        time.sleep(0.01)
    request.config.stash[seen] = now


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set values of `sharedmem.machine.tuning` for a test: ``tuned(thread_bytes=64)``.

    With `chunk_bytes`, chunks do not grow with the array unless `largest_chunk_bytes` is given.
    """
    from sharedmem.engine import cuts, line_view
    from sharedmem.machine.tuning import tuning

    def forget() -> None:
        line_view.layout.cache_clear()
        cuts._grid.cache_clear()

    def tune(**numbers: int) -> None:
        if "chunk_bytes" in numbers:
            numbers = {"largest_chunk_bytes": numbers["chunk_bytes"], **numbers}
        for name, number in numbers.items():
            monkeypatch.setattr(tuning, name, number)
        forget()

    yield tune
    forget()


@pytest.fixture
def without_kernels() -> Iterator[None]:
    """Forget compiled expressions, before and after a test that changes what they are made of."""
    from sharedmem.expressions import fusion, whole_ufuncs
    from sharedmem.functions.evaluate import _plans

    def forget() -> None:
        fusion._fuse.cache_clear()
        whole_ufuncs._forms.clear()
        _plans.clear()

    forget()
    yield
    forget()


@pytest.fixture(autouse=True, scope="module")
def compiled_code_is_frozen() -> Iterator[None]:
    """Exclude the objects that numba keeps from garbage collection, which they slow down."""
    yield
    gc.collect()
    gc.freeze()
