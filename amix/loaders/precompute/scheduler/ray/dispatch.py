"""The driver's side of a run on Ray: it gives out the numbers of units, and hears what became of them."""

import logging
import math
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

import amix
from amix.engine.base.errors import AmixError, ShardError
from amix.engine.base.words import counted
from amix.loaders.precompute.progress import UnitSummary
from amix.loaders.precompute.scheduler.interface import Work
from amix.loaders.precompute.scheduler.ray.actor import Answer, Greeting, PrecomputeWorker, Word
from amix.loaders.precompute.scheduler.ray.ledger import TRIES, Ledger, Member, Try
from amix.loaders.precompute.scheduler.worker import Failure
from amix.loaders.precompute.unit import UnitSettings

NAMESPACE = "amix"
_LOOK = 1.0  # seconds; how often a driver that waits looks whether a signal came
SILENCE = 30.0  # seconds without a worker until that is said
_FAREWELL = 20.0  # seconds for killed workers to be gone

_LOG = logging.getLogger(__name__)


class Dispatch:
    """The workers of one run, from their start to their end.

    Two units at most are with a worker: one in its session, one on the way there. Ray places the workers, and
    restarts those that died; the units that they had are given to others.
    """

    def __init__(
        self, work: Work, settings: UnitSettings, names: list[str], options: Mapping[str, Any]
    ) -> None:
        """Take what the workers are told. options: of the actors, for Ray."""
        self._work = work
        self._settings = settings
        self._options = options
        self._members = [Member(name) for name in names]
        self._ledger = Ledger(self._members, work.done)
        self._told: list[Any] = []  # Any: Ray's addresses of objects
        self._handles: dict[str, Any] = {}  # Any: handles of actors have no type
        self._calls: dict[Any, tuple[Member, int | None]] = {}  # what Ray answers to -> who, and its unit

    def run(self) -> Generator[UnitSummary, None, None]:
        """Start the workers and yield the summary of each unit as it is published. Ends them in any case."""
        try:
            self._start()
            began = time.monotonic()
            while not self._ledger.is_finished:
                self._hand_out()
                # In steps, since signals are heard only between them.
                ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=_LOOK, fetch_local=False)
                for call in ready:
                    yield from self._heard(call, *self._calls.pop(call))
                if began and any(member.node for member in self._members):
                    began = 0.0
                elif began and time.monotonic() - began > SILENCE:
                    began = 0.0
                    say_that_there_is_no_room(self._options)
        finally:
            self._end()

    def _start(self) -> None:
        for member in self._members:  # of a driver that was killed: its lock is ours now, so it is gone
            _kill(member.name)
        _wait_until_gone([member.name for member in self._members])
        self._told = [ray.put(self._settings), ray.put(self._work.corpus)]
        worker = ray.remote(PrecomputeWorker)
        for member in self._members:
            actor = worker.options(name=member.name, **self._options)
            self._handles[member.name] = actor.remote(self._work.size)
            self._greet(member)

    def _greet(self, member: Member) -> None:
        # Ray keeps this call until the worker is there, also while it is restarted somewhere else. What it is told
        # comes with the call, since arguments of the constructor may be lost until then.
        greet = self._handles[member.name].greet.options(max_task_retries=-1, name="greet")
        self._calls[greet.remote(*self._told)] = member, None

    def _hand_out(self) -> None:
        for member in self._members:
            while member.wants and (unit := self._ledger.next_for(member)) is not None:
                build = self._handles[member.name].build
                answers = build.options(num_returns="streaming", name=f"unit {unit}").remote(unit)
                self._calls[answers] = member, unit

    def _heard(self, call: Any, member: Member, unit: int | None) -> Iterator[UnitSummary]:  # noqa: ANN401  Ray's
        try:
            answer: Answer | Greeting = ray.get(call if unit is None else next(call))
        except RayError as problem:
            self._lost(member, unit, problem)
            return
        match answer:
            case Greeting():
                self._require_alike(answer)
                member.node, member.where, member.wants = answer.node, answer.name, True
            case Failure() if unit is None:
                raise answer.error("the start of a worker", f"This was found by {member.name}.")
            case Word.NEXT:
                assert unit is not None
                self._calls[call] = member, unit
                member.wants = not member.alone
            case _:
                assert unit is not None
                self._ledger.came_back(member, unit)
                if isinstance(answer, UnitSummary):
                    yield answer
                elif isinstance(answer, Failure):
                    self._failed(member, unit, answer)
                else:
                    self._ledger.end()

    def _lost(self, member: Member, unit: int | None, problem: RayError) -> None:
        """Have the unit of a worker that died tried again, and wait for the worker, if Ray can restart it."""
        if unit is None:
            if not isinstance(problem, ActorDiedError):
                self._greet(member)
                return
            self._members.remove(member)
            _LOG.warning(f"{member.name} ended for good: {in_one_line(problem)}")
            if not self._members:
                raise ShardError(
                    f"no worker is left; the last one ended with: {in_one_line(problem)}. Finished shards are kept: "
                    "run the same command again to go on."
                )
            return
        was_there = member.node is not None
        self._failed(member, unit, problem)
        self._ledger.came_back(member, unit)
        self._ledger.lost(member)
        if was_there:
            _LOG.warning(f"{member.name} died with unit {unit}; that is tried again.")
            self._greet(member)

    def _failed(self, member: Member, unit: int, problem: Failure | RayError) -> None:
        tries = self._ledger.failed(member, unit)
        if len(tries) < TRIES:
            return
        first = unit * self._work.size
        last = min(first + self._work.size, self._work.corpus.row_count or math.inf) - 1
        raise _error(f"unit {unit} (rows {first} to {last})", tries, problem)

    def _require_alike(self, greeting: Greeting) -> None:
        """Raise ShardError for a node that computes with something else: its bytes would be others."""
        recorded = self._settings.recipe.document
        wanted = {
            "the version of amix": (amix.__version__, greeting.amix),
            "the extractor": (recorded["extractor"]["fingerprint"], greeting.fingerprint),
            **{
                f"environment.{name}": (value, greeting.environment.get(name))
                for name, value in recorded["environment"].items()
            },
        }
        for name, (here, there) in wanted.items():
            if here != there:
                raise ShardError(
                    f"node {greeting.name}: {name} is {there}, and for the other shards it is {here}, so its bytes "
                    "would be others. Run on nodes of one kind with the same packages. Finished shards are kept."
                )

    def _end(self) -> None:
        for name in self._handles:
            _kill(name)
        _wait_until_gone(list(self._handles))


def say_that_there_is_no_room(options: Mapping[str, Any]) -> None:
    """Say what nobody has given yet. options: of a task or an actor."""
    asked = ("num_cpus", "num_gpus", "memory")
    needs = ", ".join(f"{name} {options[name]:,}" for name in asked if name in options)
    resources: dict[str, float] = ray.available_resources()
    free = ", ".join(f"{name} {count:,.0f}" for name, count in resources.items() if ":" not in name)
    _LOG.warning(
        f"No worker has started yet. Each needs {needs}; free in the cluster: {free or 'nothing'}. Waiting for room, "
        "or for the cluster to grow."
    )


def in_one_line(problem: Exception) -> str:
    """Return what Ray says of an error, in one line."""
    words = " ".join(str(problem).split())
    return words if len(words) <= 300 else f"{words[:297]}..."


def _error(unit: str, tries: list[Try], problem: Failure | RayError) -> AmixError:
    nodes = sorted({each.where for each in tries})
    where = f"It was tried {counted(len(tries), 'time')}, on {', '.join(nodes)}."
    if isinstance(problem, Failure):
        return problem.error(unit, f"This was in {unit}. {where}")
    return ShardError(
        f"{unit} ended each worker that had it, the last one with: {in_one_line(problem)}. {where} If memory was "
        "short, use fewer --workers. Finished shards are kept: run the same command again to go on."
    )


def _kill(name: str) -> None:
    """End a worker, if there is one of this name, whoever started it."""
    try:
        ray.kill(ray.get_actor(name, NAMESPACE))
    except (ValueError, RayError):  # there is none
        return


def _wait_until_gone(names: list[str]) -> None:
    """Wait until workers that were ended have ended, so that nothing of theirs appears in OUT afterwards."""
    deadline = time.monotonic() + _FAREWELL
    for name in names:
        while time.monotonic() < deadline:
            try:
                ray.get_actor(name, NAMESPACE)
            except ValueError:
                break
            time.sleep(0.05)
