"""Runs of the real command line in a process of its own, timed from its start to its end. Linux only."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BETWEEN = 180.0  # seconds from one interlude to the next
_SUMMED = ("tokens", "computed_tokens", "cpu_seconds", "session_cpu_seconds")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run took: seconds from start to exit, and the events that `--json` prints."""

    seconds: float
    events: list[dict[str, Any]]
    worker_bytes: int = 0  # the most resident memory that any worker had; 0 unless watched

    @property
    def tokens(self) -> int:
        """Tokens of all texts, padding not counted."""
        return int(self.events[-1]["tokens"])

    def sums(self) -> Counter[str]:
        """Return what the workers counted and timed, added up over units; seconds of a stage under its name."""
        sums: Counter[str] = Counter()
        for event in self.events:
            if event["event"] == "unit":
                sums.update({name: event[name] for name in _SUMMED})
                sums.update(event["stages"])
        return sums


def child(
    arguments: Sequence[str],
    timeout: float | None = None,
    **options: Any,  # noqa: ANN401  of subprocess.Popen
) -> dict[str, Any]:
    """Run `arguments` and return the JSON object on its last line of output.

    Raises subprocess.TimeoutExpired after `timeout` seconds.
    """
    with _started(arguments, **options) as process:
        answers = _answers(process, arguments, timeout)
    return answers[-1] if answers else {}


def precompute(
    corpus: Path | str,
    extractor: Path,
    folder: Path,
    *options: str,
    watched: bool = False,
    single: bool = False,
    interlude: Callable[[], None] | None = None,
    timeout: float | None = None,
) -> Run:
    """Run `amix precompute` on `corpus` into a new folder under `folder`, which is removed afterwards.

    watched: note the memory of the workers.  single: one worker whose session has one thread, with all cores there
    for its other threads.  interlude: called every few minutes while the run is held, which does not count.
    Raises subprocess.TimeoutExpired after `timeout` seconds.
    """
    out = Path(tempfile.mkdtemp(dir=folder))
    arguments = [sys.executable, "-m", "amix", "precompute", str(corpus), str(out), "--no-labels", "--json"]
    arguments += ["--extractor", str(extractor), *options]
    cores = os.sched_getaffinity(0)
    peaks: dict[int, int] = {}

    def visit(pid: int, worker: int) -> None:
        if watched:
            peaks[worker] = max(peaks.get(worker, 0), _peak(worker))
        if single:  # the number of threads is settled by now
            _release(pid, cores)
            _release(worker, cores)

    began = time.perf_counter()
    # One core makes one worker with one thread.
    pinned = {"preexec_fn": lambda: os.sched_setaffinity(0, {min(cores)})} if single else {}
    with (
        _started(arguments, start_new_session=interlude is not None, **pinned) as process,
        _visiting(process.pid, visit, watched or single),
        _holding(process.pid, interlude) as held,
    ):
        events = _answers(process, arguments, timeout)
        seconds = time.perf_counter() - began - sum(held)
    shutil.rmtree(out)
    if single:
        start = events[0]
        assert (start["workers"], start["threads"]) == (1, 1), start
    return Run(seconds=seconds, events=events, worker_bytes=max(peaks.values(), default=0))


def environment() -> dict[str, str]:
    """Return the environment of a run: amix of this checkout, and no limit on threads but the cores."""
    limits = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM"}
    kept = {name: value for name, value in os.environ.items() if name not in limits}
    # What else is in the path stays there: a machine without network may have its packages in a folder.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


@contextlib.contextmanager
def _started(arguments: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:  # noqa: ANN401  of Popen
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **{"env": environment(), **options},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # amix ends its workers with itself
            process.wait()


def _answers(
    process: "subprocess.Popen[str]", arguments: Sequence[str], timeout: float | None
) -> list[dict[str, Any]]:
    output, errors = process.communicate(timeout=timeout)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}\nended with {process.returncode}:\n{errors[-3000:]}")
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


@contextlib.contextmanager
def _holding(group: int, interlude: Callable[[], None] | None) -> Iterator[list[float]]:
    """Hold the processes of a group every now and then while `interlude` runs; yield for how many seconds each time."""
    held: list[float] = []
    if interlude is None:
        yield held
        return
    done = threading.Event()

    def hold() -> None:
        while not done.wait(BETWEEN):
            began = time.perf_counter()
            try:
                os.killpg(group, signal.SIGSTOP)
            except ProcessLookupError:  # it has just ended
                return
            try:
                interlude()
            finally:
                os.killpg(group, signal.SIGCONT)
                held.append(time.perf_counter() - began)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _visiting(pid: int, visit: Callable[[int, int], None], wanted: bool) -> Iterator[None]:
    """Call `visit` with the ids of a process and of each of its workers a few times a second."""
    if not wanted:
        yield
        return
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            with contextlib.suppress(OSError):  # they end while looked at
                for worker in _workers(pid):
                    visit(pid, worker)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _workers(pid: int) -> list[int]:
    """Return the processes that `pid` spawned for work; another of its children keeps count of shared resources."""
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _peak(pid: int) -> int:
    """Return the high-water mark of a process's own memory; `ru_maxrss` starts with that of who spawned it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _release(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(thread.name), cores)
