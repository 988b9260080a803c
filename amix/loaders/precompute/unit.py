"""Units of work: a range of corpus rows in, one published shard out. Runs in a worker, without torch.

Axes: B batch, H heads, T tokens.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from amix.engine.base import canonical
from amix.engine.base.machine import peak_memory
from amix.engine.base.prefetch import Prefetched
from amix.engine.extractor.folder import Backend
from amix.engine.extractor.runner import Batch
from amix.engine.extractor.session import Session, open_session
from amix.loaders.corpus import Row
from amix.loaders.precompute.batching import Budget, collated, length_batches
from amix.loaders.precompute.progress import UnitSummary
from amix.loaders.precompute.tokenize import Encoded, TextEncoder
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.output import Destination
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import Reject, ShardFacts, ShardRecord
from amix.loaders.shards.writer import Sample, ShardWriter

AHEAD = 64  # texts whose relevance waits for the disk: a few batches, under 10 MB of 72 heads at 512 tokens
LATE = 0.1  # share of a unit's tokens that is left when the next is asked for; earlier, others might get none
GPU_LATE = 1.0  # a GPU is done with a unit before the next could be read and tokenised: that one is asked for at once
STAGES = ("tokenize", "session", "store")

Unit = tuple[int, list[Row]]
_Relevance = tuple[int, NDArray[np.float32]]  # position in its unit, (H, T) of the text's own length


class Units(Iterator[Unit], Protocol):
    """Units as they come; the next one may take long."""

    def close(self) -> None:
        """End the iteration from another thread, also while it waits for a unit."""
        ...


@dataclass(frozen=True, kw_only=True)
class UnitSettings:
    """What a worker needs to build shards: paths, numbers, and the recipe that every record repeats."""

    out: Path | Destination
    extractor: Path
    device: str
    backend: Backend
    threads: int
    head_indices: tuple[int, ...]
    max_length: int
    special_ids: tuple[int, ...]
    layout: Layout
    recipe: Recipe
    budget: Budget = field(default_factory=Budget)


@dataclass(kw_only=True)
class _Prepared:
    """A unit with its texts as ids, and what it has cost so far."""

    unit: int
    began: float  # when the worker began with it
    facts: ShardFacts
    samples: list[Sample]
    lengths: list[int]
    encoded: list[Encoded]
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))  # by stage
    session_cpu: float = 0.0  # seconds
    computed: int = 0  # tokens, with padding


_Item = _Prepared | _Relevance
_Tag = tuple[_Prepared, list[int]]  # a unit, and the positions of a batch of its texts


class UnitBuilder:
    """Turns units into shards with one session and one tokenizer.

    Four threads, each a bounded step ahead of the next: one tokenises a unit, one runs the session, one writes the tar,
    one publishes. So the session does not wait between units, nor for checksums, hashing, the disk and a store.
    """

    def __init__(self, settings: UnitSettings) -> None:
        self._settings = settings
        self._encoder = TextEncoder(
            settings.extractor / "tokenizer.json", settings.max_length, settings.special_ids
        )
        self._on_gpu = settings.device != "cpu"

    def build(self, units: Units, ask: Callable[[], None]) -> Generator[UnitSummary, None, None]:
        """Publish the shards of `units`, each of consecutive rows, and yield a summary of each for the parent.

        ask: called once for each unit, from a thread of this builder, when the session is nearly done with it: the
            time to get the next. `units` may wait for it, and is closed when the caller leaves this iteration early.
        """
        with Prefetched(map(self._prepare, units), depth=1) as prepared, contextlib.closing(units):
            session = self._open()  # while the first unit is tokenised
            with (
                Prefetched(self._relevance(session, iter(prepared), ask), depth=AHEAD) as stream,
                contextlib.closing(units),  # a stage that waits for a unit can only end when none will come
            ):
                yield from self._store(stream, units)

    def _open(self) -> Session:
        given = self._settings
        session = open_session(
            given.extractor, device=given.device, threads=given.threads, backend=given.backend
        )
        if self._on_gpu:
            # The memory of the largest batches is taken first. Batches come in ascending size, and each that is a
            # little larger than all before it would be given new memory beside the old.
            for shape in given.budget.largest(given.max_length):
                ids_BT = np.full(shape, session.extractor.pad_id, np.int64)
                session.run(ids_BT, np.ones_like(ids_BT))
        return session

    def _store(self, stream: Prefetched[_Item], units: Units) -> Iterator[UnitSummary]:
        before, cpu_before = 0.0, time.process_time()
        with Prefetched(self._written(stream), depth=1) as written, contextlib.closing(units):
            for unit, publish in written:
                began = time.perf_counter()
                record = publish()
                after, cpu_after = time.perf_counter(), time.process_time()
                unit.seconds["store"] += after - began
                yield UnitSummary(
                    unit=unit.unit,
                    row_count=record.row_count,
                    samples=record.samples,
                    tokens=record.tokens,
                    rejects=record.rejects,
                    truncated=record.truncated or 0,
                    computed_tokens=unit.computed,
                    seconds=after - max(before, unit.began),
                    cpu_seconds=cpu_after - cpu_before,
                    stages=unit.seconds,
                    session_cpu_seconds=unit.session_cpu,
                    peak_bytes=peak_memory(),
                )
                before, cpu_before = after, cpu_after

    def _written(self, stream: Prefetched[_Item]) -> Iterator[tuple[_Prepared, Callable[[], ShardRecord]]]:
        """Yield each unit when its tar is written, with what publishes it."""
        items = iter(stream)
        for unit in items:
            assert isinstance(unit, _Prepared)
            writer = ShardWriter(self._settings.out, unit.unit, self._settings.layout)
            began, waited = time.perf_counter(), stream.waited
            relevance = cast(Iterator[_Relevance], itertools.islice(items, len(unit.samples)))
            publish = writer.write(unit.samples, relevance, unit.facts)
            unit.seconds["store"] = time.perf_counter() - began - (stream.waited - waited)
            yield unit, publish

    def _prepare(self, work: Unit) -> _Prepared:
        number, rows = work
        began = time.perf_counter()
        usable = [row for row in rows if row.reject is None]
        texts = list(zip(usable, self._encoder.encode(usable), strict=True))
        flaws = {row.number: row.reject for row in rows} | {row.number: text.flaw for row, text in texts}
        texts = [(row, text) for row, text in texts if text.flaw is None]
        encoded = [text for _, text in texts]
        prepared = _Prepared(
            unit=number,
            began=began,
            facts=ShardFacts(
                row_range=(rows[0].number, rows[-1].number + 1),
                rejects=tuple(
                    Reject(number, _printable(flaw)) for number, flaw in flaws.items() if flaw is not None
                ),
                recipe=self._settings.recipe,
                rows_sha256=canonical.digest([_as_json(row) for row in rows]),
                truncated=sum(text.truncated for text in encoded),
            ),
            samples=[self._sample(row, text) for row, text in texts],
            lengths=[len(text.ids) for text in encoded],
            encoded=encoded,
        )
        prepared.seconds["tokenize"] = time.perf_counter() - began
        return prepared

    def _relevance(
        self, session: Session, units: Iterator[_Prepared], ask: Callable[[], None]
    ) -> Iterator[_Item]:
        """Yield each unit, followed by the relevance of its texts, the shortest first."""
        heads = list(self._settings.head_indices)
        with contextlib.closing(session.stream(self._batches(units, ask))) as answers:
            for (unit, positions), relevance_BHT, seconds, cpu_seconds in answers:
                if relevance_BHT is None:
                    yield unit
                    continue
                unit.session_cpu += cpu_seconds
                unit.seconds["session"] += seconds
                for place, position in enumerate(positions):
                    yield position, relevance_BHT[place, heads, : unit.lengths[position]]

    def _batches(
        self, units: Iterator[_Prepared], ask: Callable[[], None]
    ) -> Iterator[tuple[_Tag, Batch | None]]:
        """Yield each unit, followed by its batches with the positions of their texts."""
        late = GPU_LATE if self._on_gpu else LATE
        for unit in units:
            yield (unit, []), None
            asked, left = False, sum(unit.lengths)
            for positions in length_batches(unit.lengths, self._settings.budget):
                left -= sum(unit.lengths[position] for position in positions)
                if not asked and left <= late * sum(unit.lengths):
                    ask()
                    asked = True
                batch = collated([unit.encoded[position] for position in positions])
                unit.computed += batch.input_ids.size
                yield (unit, positions), batch
            if not asked:  # every row was rejected
                ask()

    def _sample(self, row: Row, text: Encoded) -> Sample:
        layout = self._settings.layout
        return Sample(
            row=row.number,
            ids=text.ids,
            label=-1 if row.label is None else row.label,
            labels=row.labels,
            token_type_ids=text.token_type_ids if layout.token_types else None,
            text=row.text if layout.text else None,
        )


def _as_json(row: Row) -> dict[str, object]:
    """Return a row as JSON, for its hash."""
    texts = {
        name: None if text is None else _printable(text)
        for name, text in (("text", row.text), ("pair", row.pair))
    }
    return {**asdict(row), **texts}


def _printable(text: str) -> str:
    """Return a text with what UTF-8 cannot hold written as escapes; only rejected rows have such texts."""
    return text.encode("utf-8", "backslashreplace").decode()
