"""Environments: streams, daemons, notebooks, other users, containers, and signal handlers."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sharedmem
from scenario import BOTH, TWO, NotPossibleError, Stage, scenario, throw
from scenarios_arrays import small_disk
from sharedmem import MapReduce, WorkerException

NOBODY = 65534


@scenario(33, workers=TWO)
def what_is_printed_is_written_once(stage: Stage) -> None:
    """Including text that a failing task has printed, and text that was buffered at the fork."""

    def work(i: int) -> None:
        print(f"<{i}>", end="")
        if i == 1:
            throw(ZeroDivisionError())
        time.sleep(0.01)

    stdout = sys.stdout
    for _ in range(10):
        with open("printed", "w") as sys.stdout:
            print("<pending>", end="")
            with contextlib.suppress(WorkerException):
                stage.pool.map(work, range(2))
            stage.pool.map(lambda i: print(f"<{i}>", end=""), range(2, 5))
        sys.stdout = stdout
        written = Path("printed").read_text()
        for text in ("pending", "1", "2", "3", "4"):
            assert written.count(f"<{text}>") == 1, written


class Mute(io.StringIO):
    """A stream that cannot be flushed and has no descriptor."""

    def flush(self) -> None:
        raise ValueError("I/O operation on closed file")


@scenario(33, workers=TWO, backends=BOTH)
def standard_streams_of_every_kind(stage: Stage) -> None:
    kept = sys.stdout, sys.stderr, sys.stdin
    with open(os.devnull, "w") as closed:
        pass
    try:
        for stream in (None, closed, Mute(), io.StringIO(), object()):
            sys.stdout = sys.stderr = sys.stdin = stream
            assert stage.pool.map(abs, range(5)) == list(range(5))
            try:
                stage.pool.map(lambda i: 1 // i, range(5))
            except WorkerException as error:
                assert isinstance(error.reason, ZeroDivisionError)
    finally:
        sys.stdout, sys.stderr, sys.stdin = kept


MAPS = """
import sharedmem
from sharedmem import MapReduce
def maps():
    with MapReduce(np=2) as pool:
        assert pool.map(abs, range(-5, 5)) == [abs(i) for i in range(-5, 5)]
        assert list(pool.imap(abs, range(5))) == list(range(5))
        a = sharedmem.zeros(100)
        pool.map_chunks(lambda x: x.fill(1), a, chunks=sharedmem.chunks(a, n=4))
        assert a.sum() == 100
        try:
            pool.map(lambda i: 1 // i, range(5))
        except sharedmem.WorkerException as error:
            assert "ZeroDivisionError" in str(error)
        else:
            raise AssertionError
"""


def run_program(
    program: str, *before: str, environment: dict[str, str] | None = None, **options: object
) -> str:
    """Run a program, perhaps by the command `before`; return its output."""
    source = MAPS + textwrap.dedent(program)
    done = subprocess.run(
        [*before, sys.executable, "-c", source],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


MAPS_AND_PRINTS = "maps(); print('fine')"


@scenario(33, workers=TWO)
def standard_descriptors_closed(stage: Stage) -> None:
    run_program("maps()", "sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")


@scenario(33, workers=TWO)
def under_nohup(stage: Stage) -> None:
    assert run_program(MAPS_AND_PRINTS, "nohup").endswith("fine\n")


@scenario(33, workers=TWO)
def as_a_daemon(stage: Stage) -> None:
    program = """
        import os, pathlib
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                for fd in (0, 1, 2):
                    os.close(fd)
                    os.open(os.devnull, os.O_RDWR)
                maps()
                pathlib.Path(FILE).touch()
            os._exit(0)
        os.wait()
        """
    file = Path("finished").absolute()
    run_program(program.replace("FILE", repr(str(file))))
    while not file.exists():
        time.sleep(0.01)
    file.unlink()


@scenario(33, 39, workers=TWO)
def in_a_process_of_multiprocessing(stage: Stage) -> None:
    """Daemonic processes may not start children by multiprocessing; workers are none of these."""
    program = """
        import multiprocessing
        for method, daemon in ("fork", True), ("fork", False), ("spawn", True):
            process = multiprocessing.get_context(method).Process(target=maps, daemon=daemon)
            process.start()
            process.join()
            assert process.exitcode == 0, (method, daemon)
        """
    with tempfile.TemporaryDirectory() as folder:
        main = Path(folder, "main.py")
        body = textwrap.indent(textwrap.dedent(program), "    ")
        main.write_text(f"{MAPS}\nif __name__ == '__main__':\n{body}")
        subprocess.run([sys.executable, main], check=True)


@scenario(33, workers=TWO, limit=60)
def in_a_jupyter_kernel(stage: Stage) -> None:
    needs("ipykernel", "jupyter_client")
    program = """
        from jupyter_client.manager import run_kernel
        import sys
        source = sys.argv[1]
        with run_kernel(kernel_name="python3") as client:
            reply = client.execute_interactive(source + "maps(); print('fine')", timeout=40)
        assert reply["content"]["status"] == "ok", reply
        """
    source = textwrap.dedent(program)
    command = [sys.executable, "-c", source, MAPS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fine" in done.stdout


@scenario(33, workers=TWO, limit=60)
def under_pytest_xdist(stage: Stage) -> None:
    needs("xdist")
    with tempfile.TemporaryDirectory() as folder:
        tests = "".join(f"def test_{k}(): maps()\n" for k in range(4))
        Path(folder, "test_maps.py").write_text(MAPS + tests)
        command = ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-c", os.devnull]
        done = subprocess.run(
            [sys.executable, *command, "--rootdir", folder, folder],
            capture_output=True,
            text=True,
        )
        assert "4 passed" in done.stdout, done.stdout + done.stderr


@scenario(33, workers=TWO, limit=60)
def in_a_dask_worker(stage: Stage) -> None:
    needs("distributed")
    program = """
        import dask.distributed
        if __name__ == "__main__":
            for processes in (True, False):
                with dask.distributed.Client(
                    n_workers=1, threads_per_worker=2, processes=processes, dashboard_address=None
                ) as client:
                    client.gather([client.submit(maps, pure=False) for _ in range(4)])
        """
    with tempfile.TemporaryDirectory() as folder:
        main = Path(folder, "main.py")
        main.write_text(MAPS + textwrap.dedent(program))
        done = subprocess.run([sys.executable, main], capture_output=True)
        assert done.returncode == 0, done.stderr


def needs(*packages: str) -> None:
    import importlib.util

    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise NotPossibleError(f"{package} is not installed")


@contextlib.contextmanager
def as_nobody() -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield a command prefix that runs a program as the user nobody, and the environment for it.

    The package is copied to a folder that other users may read but not write to.
    """
    if os.geteuid() or not shutil.which("setpriv"):
        raise NotPossibleError("only root can run a program as another user")
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        package = Path(sharedmem.__file__).parent
        shutil.copytree(package, Path(folder, "sharedmem"), ignore=ignore_compiled)
        probe = [*command, sys.executable, "-c", "import numba"]
        if subprocess.run(probe, capture_output=True, cwd="/").returncode:
            raise NotPossibleError("other users cannot read this Python")
        yield command, {"PATH": os.environ["PATH"], "PYTHONPATH": folder}


def ignore_compiled(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


@scenario(35, workers=TWO, limit=60)
def nowhere_to_write(stage: Stage) -> None:
    """The user cannot write to the source tree, the home, or the folder for temporary files."""
    program = """
        import os
        assert not os.access(os.path.dirname(sharedmem.__file__), os.W_OK)
        maps()
        import sharedmem.kernels.sums
        """
    with as_nobody() as (command, environment):
        run_program(program, *command, environment={**environment, "TMPDIR": "/proc"}, cwd="/")


SHM = {
    "missing": "mount -t tmpfs -o ro none /dev/shm",
    "tiny": "mount -t tmpfs -o size=4k none /dev/shm",
}
for how, mounting in SHM.items():

    @scenario(35, name=f"shared_memory_of_the_system_is_{how}", workers=TWO)
    def shm_is_unusable(stage: Stage, mounting=mounting) -> None:
        program = """
            import signal
            pool = MapReduce(np=3)
            count = sharedmem.zeros((), "i8")
            def work(i):
                with pool.ordered, pool.critical:
                    count[()] += 1
                return sharedmem.full(1 << 20, i), bytes(1 << 20)
            pool.map(work, range(20), reduce=lambda a, b: None)
            assert count == 20
            maps()
            """
        needs_unshare()
        run_program(program, "unshare", "--mount", "sh", "-c", f'{mounting} && exec "$@"', "sh")


def needs_unshare() -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        raise NotPossibleError("no mount namespace can be made")


@scenario(35, workers=TWO)
def no_space_for_temporary_files(stage: Stage) -> None:
    with small_disk(4096) as folder:
        Path(folder, "all").write_bytes(bytes(4096))
        run_program("maps()", environment={**os.environ, "TMPDIR": str(folder)})


@scenario(36, workers=(2, 5))
def handlers_stay_with_the_coordinator(stage: Stage) -> None:
    numbers = signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1
    calls: list[int] = []
    before = {number: signal.signal(number, lambda *_: calls.append(1)) for number in numbers}
    try:
        for number in numbers:
            for _ in range(2):
                try:
                    stage.pool.map(lambda i, which=number: os.kill(os.getpid(), which), range(5))
                except WorkerException as error:
                    assert f"killed by {number.name}" in str(error), error
                else:
                    raise AssertionError(number)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)  # Workers inherit no timer.
        assert stage.pool.map(lambda i: time.sleep(0.01) or i, range(20)) == list(range(20))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@scenario(36, workers=TWO)
def as_the_first_process_of_a_container(stage: Stage) -> None:
    needs_unshare()
    program = """
        import os, signal
        assert os.getpid() == 1
        maps()
        try:
            MapReduce(np=2).map(lambda i: os.kill(os.getpid(), signal.SIGKILL), range(5))
        except sharedmem.WorkerException as error:
            assert "SIGKILL" in str(error)
        """
    run_program(program, "unshare", "--pid", "--fork", "--mount-proc")


@scenario(37, workers=(1, 2, 5, 13), backends=BOTH)
def random_numbers(stage: Stage) -> None:
    """They differ between workers; with a seed they depend only on the seed and the task."""
    random.random()
    np.random.random()
    if stage.backend.uses_processes:
        draws = stage.pool.map(
            lambda i: (random.random(), np.random.random()), range(stage.n_workers), chunksize=1
        )
        assert len(set(itertools.chain(*draws))) == 2 * stage.n_workers
    seeded = MapReduce(stage.backend, np=stage.n_workers, seed=5)
    serial = MapReduce(np=0, seed=5)
    for _ in range(2):
        drawn = seeded.map(lambda i: seeded.rng.random(), range(20))
        assert drawn == serial.map(lambda i: serial.rng.random(), range(20))
        assert len(set(drawn)) == 20


@scenario(39, workers=TWO)
def files_of_the_coordinator(stage: Stage) -> None:
    """Files opened before the fork remain usable; their buffered text is written once."""
    import h5py

    with (
        tempfile.TemporaryDirectory() as folder,
        open(Path(folder, "text"), "w") as text,
        h5py.File(Path(folder, "file.h5"), "w") as hdf5,
        contextlib.closing(Socket()) as socket,
    ):
        text.write("once")
        hdf5["x"] = np.arange(100)
        hdf5.flush()

        def work(i: int) -> int:
            return int(hdf5["x"][i])

        assert stage.pool.map(work, range(100)) == list(range(100))
        hdf5["y"] = hdf5["x"][:] + 1
        assert hdf5["y"][-1] == 100
        text.flush()
        assert Path(text.name).read_text() == "once"
        assert socket.talk() == b"hello"


class Socket:
    """Two connected sockets."""

    def __init__(self) -> None:
        import socket

        self.ours, self.theirs = socket.socketpair()

    def talk(self) -> bytes:
        self.theirs.send(b"hello")
        return self.ours.recv(5)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@scenario(17, workers=TWO)
def no_more_processes_for_this_user(stage: Stage) -> None:
    program = """
        import os, resource
        limit = len(os.listdir("/proc/self/task")) + 1
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
        for _ in range(3):
            try:
                MapReduce(np=5).map(abs, range(5))
            except OSError as error:
                assert "ulimit -u" in error.__notes__[0], error.__notes__
            else:
                raise AssertionError
        assert MapReduce(np=1).map(abs, range(5)) == list(range(5))
        """
    with as_nobody() as (command, environment):
        run_program(program, *command, environment=environment, cwd="/")
