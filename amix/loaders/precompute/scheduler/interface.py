"""What a run asks of whatever computes its units, so that it does not know which it has."""

from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from amix.engine.extractor.folder import Backend, Extractor
from amix.loaders.corpus import Corpus
from amix.loaders.precompute.batching import Budget
from amix.loaders.precompute.progress import UnitSummary
from amix.loaders.precompute.unit import UnitSettings


@dataclass(frozen=True, kw_only=True)
class Computing:
    """What texts are computed with, wherever that is.

    max_length: tokens.  workers: how many were asked for; None = as many as fit.
    """

    extractor: Extractor
    backend: Backend
    budget: Budget
    max_length: int
    workers: int | None


@dataclass(frozen=True, kw_only=True)
class Work:
    """The units of a run. size: corpus rows of each.  done: those that earlier runs published."""

    corpus: Corpus
    size: int
    done: frozenset[int]


class Crew(Protocol):
    """The workers of one run.

    workers: how many there are to be; 0 where there is nothing to do.  threads: of the session in each.
    """

    workers: int
    threads: int

    def map(self, settings: UnitSettings) -> Generator[UnitSummary, None, None]:
        """Start the workers, and yield the summary of each unit as it is published, in any order.

        Raises the worker's own AmixError, or ShardError when workers died. Closing the generator ends the workers.
        """
        ...


class Scheduler(AbstractContextManager["Scheduler"], Protocol):
    """Where units are computed. The `with` block holds the connection to it, if there is one."""

    def environment(self) -> dict[str, str]:
        """Return what decides the last bits of relevance where the units will be computed."""
        ...

    def require_devices(self) -> None:
        """Raise DeviceError or ExtractorError where the devices are not there, or have too little memory."""
        ...

    def crew(self, work: Work) -> AbstractContextManager[Crew]:
        """Return the workers for `work`, none of which has started yet."""
        ...
