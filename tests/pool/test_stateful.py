"""Random operations of a pool, in random order, against a model."""

import os

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from operations import FAILURES, Program
from sharedmem import ProcessBackend, ThreadBackend

# Numbers of programs and of steps of each; `make fuzz` sets higher ones.
N_PROGRAMS = int(os.environ.get("SHAREDMEM_FUZZ_PROGRAMS", "6"))
N_STEPS = int(os.environ.get("SHAREDMEM_FUZZ_STEPS", "12"))

WHICH = st.integers(0, 9)
N_TASKS = st.integers(1, 40)


class AnyProgram(RuleBasedStateMachine):
    """A state machine whose rules are the methods of `Program`."""

    @initialize(backend=st.sampled_from([ProcessBackend, ThreadBackend]), n=st.integers(1, 3))
    def begin(self, backend, n):
        self.program = Program(backend, n)

    @rule(
        n_tasks=st.integers(0, 300),
        chunksize=st.none() | st.integers(1, 20),
        n_bytes=st.sampled_from([0, 10, 40_000, 1 << 20]),
    )
    def map(self, n_tasks, chunksize, n_bytes):
        self.program.map(n_tasks if n_bytes < 1000 else n_tasks % 10, chunksize, n_bytes)

    @rule(n_tasks=N_TASKS)
    def reduce(self, n_tasks):
        self.program.reduce(n_tasks)

    @rule(n_tasks=N_TASKS, at=WHICH, how=st.sampled_from(list(FAILURES)))
    def fail(self, n_tasks, at, how):
        is_possible = self.program.has_processes or how == "raises"
        self.program.fail(n_tasks, at, *FAILURES[how if is_possible else "raises"])

    @rule(n_items=N_TASKS, at=WHICH)
    def fail_in_imap(self, n_items, at):
        self.program.fail_in_imap(n_items, at)

    @rule(n_tasks=N_TASKS, at=WHICH)
    def stop(self, n_tasks, at):
        self.program.stop(n_tasks, at)

    @rule()
    def run_late(self):
        self.program.run_late()

    @rule(n_tasks=st.integers(1, 5))
    def nest(self, n_tasks):
        self.program.nest(n_tasks)

    @rule(in_order=st.booleans())
    def begin_imap(self, in_order):
        self.program.begin_imap(in_order=in_order)

    @rule(which=WHICH, n_results=st.integers(0, 300))
    def take(self, which, n_results):
        self.program.take(which, n_results)

    @rule(which=WHICH)
    def drop(self, which):
        self.program.drop(which)

    @rule(n=st.sampled_from([0, 1, 1000, 300_000]), in_worker=st.booleans())
    def allocate(self, n, in_worker):
        self.program.allocate(n, in_worker=in_worker)

    @rule(which=WHICH, by_kernel=st.booleans())
    def change(self, which, by_kernel):
        self.program.change(which, by_kernel=by_kernel)

    @rule(which=WHICH)
    def fail_in_kernel(self, which):
        self.program.fail_in_kernel(which)

    @rule(which=WHICH)
    def free(self, which):
        self.program.free(which)

    @rule(n=WHICH, dies=st.booleans())
    def call(self, n, dies):
        self.program.call(n, dies=dies)

    @rule(which=WHICH, cancel=st.booleans())
    def wait(self, which, cancel):
        (self.program.cancel if cancel else self.program.wait)(which)

    @invariant()
    def arrays_are_those_of_the_model(self):
        if hasattr(self, "program"):
            self.program.check()

    def teardown(self):
        if hasattr(self, "program"):
            self.program.end()


AnyProgram.TestCase.settings = settings(
    max_examples=N_PROGRAMS,
    stateful_step_count=N_STEPS,
    suppress_health_check=list(HealthCheck),
)
test_any_program = pytest.mark.timeout(0 if N_PROGRAMS > 6 else 60)(AnyProgram.TestCase)
