"""One unit of work: a range of corpus rows in, one published shard out. Runs in a worker, without torch.

Axes: B batch, H heads, T tokens.
"""

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.engine import canonical
from amix.engine.artifact import Backend
from amix.engine.sessions import open_session
from amix.loaders.batching import length_batches
from amix.loaders.corpus import Row
from amix.loaders.encoding import Encoded, TextEncoder
from amix.loaders.layout import Layout
from amix.loaders.prefetch import Prefetched
from amix.loaders.shardwriter import Sample, ShardWriter

AHEAD = 64  # texts whose relevance waits for the disk: a few batches, under 10 MB of 72 heads at 512 tokens


@dataclass(frozen=True, kw_only=True)
class UnitSettings:
    """What a worker needs to build shards: paths, numbers, and the plan that every record repeats."""

    out: Path
    extractor: Path
    device: str
    backend: Backend
    threads: int
    head_indices: tuple[int, ...]
    max_length: int
    layout: Layout
    plan: dict[str, Any]


class UnitBuilder:
    """Turns units into shards with one session and one tokenizer."""

    def __init__(self, settings: UnitSettings) -> None:
        self._settings = settings
        self._session = open_session(
            settings.extractor, device=settings.device, threads=settings.threads, backend=settings.backend
        )
        self._takes_types = "token_type_ids" in self._session.extractor.inputs
        self._encoder = TextEncoder(settings.extractor / "tokenizer.json", settings.max_length)
        # One thread's own clock where the session has but one; else the clock of all, the storing thread's among them.
        self._cpu_clock = time.thread_time if settings.threads == 1 else time.process_time

    def build(self, unit: int, rows: list[Row]) -> dict[str, Any]:
        """Publish the shard of `rows`, which are consecutive, and return a summary for the parent.

        The summary counts rows, samples, tokens, tokens computed (padding included), rejects and cut texts, and says
        what the unit cost: seconds and CPU seconds in all, seconds per stage, CPU seconds in the session, and
        the largest memory of this process so far.
        """
        began, cpu_began = time.perf_counter(), time.process_time()
        self._stages = dict.fromkeys(("tokenize", "session", "store"), 0.0)
        self._session_cpu, self._computed = 0.0, 0
        usable = [row for row in rows if row.reject is None]
        with self._stage("tokenize"):
            encoded = self._encoder.encode(usable)
        rejects = [
            [row.number, row.reject.encode("utf-8", "backslashreplace").decode()]
            for row in rows
            if row.reject is not None
        ]
        samples = [self._sample(row, text) for row, text in zip(usable, encoded, strict=True)]
        truncated = sum(text.truncated for text in encoded)
        facts = {
            "rows": [rows[0].number, rows[-1].number + 1],
            "rows_sha256": canonical.digest([_printable(row) for row in rows]),
            "rejects": rejects,
            "truncated": truncated,
            "plan": self._settings.plan,
        }
        writer = ShardWriter(self._settings.out, unit, self._settings.layout)
        store_began = time.perf_counter()
        # The session runs ahead of checksums, hashing and the disk, which leave the interpreter's lock to it.
        with Prefetched(self._relevance(encoded), depth=AHEAD) as relevance:
            record = writer.publish(samples, relevance, facts)
        self._stages["store"] += time.perf_counter() - store_began - relevance.waited
        return {
            "unit": unit,
            "rows": len(rows),
            "samples": record["samples"],
            "tokens": record["tokens"],
            "rejects": rejects,
            "truncated": truncated,
            "computed_tokens": self._computed,
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,
            "stages": self._stages,
            "session_cpu_seconds": self._session_cpu,
            "peak_bytes": _peak_bytes(),
        }

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name] += time.perf_counter() - began

    def _relevance(self, encoded: list[Encoded]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (position, relevance (H, T) float32 of the text's own length) of every text, the shortest first."""
        heads = list(self._settings.head_indices)
        lengths = [len(text.ids) for text in encoded]
        for batch in length_batches(lengths):
            longest = lengths[batch[-1]]
            ids_BT = np.zeros((len(batch), longest), np.int64)
            mask_BT = np.zeros((len(batch), longest), np.int64)
            types_BT = np.zeros((len(batch), longest), np.int64) if self._takes_types else None
            for place, position in enumerate(batch):
                text = encoded[position]
                ids_BT[place, : len(text.ids)] = text.ids
                mask_BT[place, : len(text.ids)] = 1
                if types_BT is not None and text.token_type_ids is not None:
                    types_BT[place, : len(text.ids)] = text.token_type_ids
            with self._stage("session"):
                cpu_began = self._cpu_clock()
                relevance_BHT = self._session.run(ids_BT, mask_BT, types_BT)
                self._session_cpu += self._cpu_clock() - cpu_began
            self._computed += ids_BT.size
            for place, position in enumerate(batch):
                yield position, relevance_BHT[place, heads, : lengths[position]]

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


def _peak_bytes() -> int:
    """Return the most memory that this process has had; getrusage would count its parent's before the exec."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    except (OSError, StopIteration):  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _printable(row: Row) -> dict[str, Any]:
    """A row as JSON; the text of a rejected one may hold what UTF-8 cannot."""
    fields = asdict(row)
    for name in ("text", "pair"):
        if isinstance(fields[name], str):
            fields[name] = fields[name].encode("utf-8", "backslashreplace").decode()
    return fields
