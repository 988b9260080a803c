"""A corpus through an extractor into a shard folder: in parallel, resumable, the same bytes every time.

The unit of work is one shard = one range of corpus rows. A unit that has a record is done; the manifest comes last and
makes the folder a cache.
"""

import contextlib
import itertools
import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from amix.engine.base.devices import parse_devices
from amix.engine.base.errors import CorpusError, ShardError, UsageError
from amix.engine.base.heads import select_heads
from amix.engine.base.machine import available_cores, available_memory
from amix.engine.base.stopping import signals_end
from amix.engine.extractor.folder import Backend, Extractor
from amix.engine.extractor.session import open_session
from amix.loaders.corpus import Corpus, CorpusOptions, Row, open_corpus
from amix.loaders.precompute.environment import environment
from amix.loaders.precompute.progress import Start, UnitSummary
from amix.loaders.precompute.sizing import sensible_workers, worker_bytes
from amix.loaders.precompute.unit import UnitSettings
from amix.loaders.precompute.workers import WorkerPool
from amix.loaders.shards.choices import RelevanceDtype
from amix.loaders.shards.finish import TokenizerFile, publish_manifest
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.manifest import TOKENIZER, Manifest
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import Reject
from amix.loaders.shards.workspace import Workspace, shards_are_kept

_LOG = logging.getLogger(__name__)

SHORTEST = 8  # tokens; with fewer, special tokens would be all that is left of a text


@dataclass(frozen=True, kw_only=True)
class PrecomputeOptions:
    """How a corpus is turned into shards.

    heads: which heads to store: `all`, layers (`0`), heads (`0.8,1.3`).
    dtype: of the stored relevance; uint8 is a square-root code.
    max_length: the most tokens of a text, with special ones; never more than the encoder takes.
    device: `cpu`, `cuda:N`, or several GPUs with commas, which the workers take in turn.
    workers: processes; None = one per core as far as memory allows, or one per GPU.
    samples_per_shard: corpus rows of a shard.  restart: remove what an earlier run wrote.
    max_rejects: unusable rows that are tolerated.
    labels_from: another cache whose class names and numbers to use.  keep_text: store texts beside their ids.
    """

    heads: str = "all"
    dtype: RelevanceDtype = "float16"
    max_length: int = 512
    workers: int | None = None
    device: str = "cpu"
    backend: Backend | None = None
    samples_per_shard: int = 4096
    restart: bool = False
    max_rejects: int = 100
    labels_from: Path | None = None
    keep_text: bool = False

    def __post_init__(self) -> None:
        dtypes = get_args(RelevanceDtype)
        if self.dtype not in dtypes:
            raise UsageError(f"--dtype is '{self.dtype}'; it must be one of: {', '.join(dtypes)}.")
        if self.max_length < SHORTEST:
            raise UsageError(f"--max-length is {self.max_length}; it must be at least {SHORTEST} tokens.")
        for name in ("samples_per_shard", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
        if self.max_rejects < 0:
            raise UsageError(f"--max-rejects is {self.max_rejects}; it cannot be negative.")


def precompute(
    source: str,
    out: Path,
    *,
    extractor: Path,
    corpus_options: CorpusOptions | None = None,
    options: PrecomputeOptions | None = None,
    on_start: Callable[[Start], None] = lambda start: None,
    on_unit: Callable[[UnitSummary], None] = lambda summary: None,
) -> Manifest:
    """Run every row of a corpus through an extractor and publish shards and manifest in `out`.

    A run that was stopped goes on where it was; a finished one is left as it is. The bytes are a function of corpus,
    extractor and options, and do not depend on the number of workers (docs/shards.md).
    on_start: called once when there are units to do, before the first worker starts.
    on_unit: called with the summary of each unit that this run publishes.
    Returns the manifest. Raises UsageError, CorpusError, ArtifactError, ShardError or DeviceError; what was
    published before stays.
    """
    options, corpus_options = options or PrecomputeOptions(), corpus_options or CorpusOptions()
    # A device or runtime that is not available is found here, before anything is removed or written.
    devices = parse_devices(options.device)
    for device in devices:
        session = open_session(extractor, device=device, threads=1, backend=options.backend)
        opened, backend = session.extractor, session.backend
        del session  # each worker opens its own
    if options.labels_from is not None:
        corpus_options = replace(corpus_options, labels=_names_of(options.labels_from))
    head_indices = select_heads(options.heads, opened.heads)
    corpus = open_corpus(source, corpus_options)
    layout = _layout(opened, corpus, corpus_options, options, len(head_indices))
    recipe = Recipe.of(
        heads=[opened.heads[index] for index in head_indices],
        layout=layout,
        max_length=min(options.max_length, opened.max_length),
        label_names=corpus.label_names,
        samples_per_shard=options.samples_per_shard,
        extractor={
            "fingerprint": opened.fingerprint,
            "graph_sha256": opened.graph_sha256[backend],
            "tokenizer_sha256": opened.files[TOKENIZER],
            "special_ids": list(opened.special_ids),
            "pad_id": opened.pad_id,
        },
        corpus=corpus.identity,
        environment=environment(backend, devices[0]),
    )

    with signals_end(shards_are_kept(out, options.restart)), Workspace(out) as workspace:
        if options.restart:
            workspace.clear()
        finished = workspace.finished(recipe)
        if finished is not None:
            return finished
        done = workspace.records(recipe)
        workspace.prepare()
        rejects = _Rejects(options.max_rejects)
        for record in done.values():
            rejects.add(record.rejects)
        published = set(done)
        with contextlib.closing(_pending(corpus, options.samples_per_shard, set(done))) as units:
            # The first units are read here, so that no more workers start than there is work for.
            cores = available_cores()
            if devices == ("cpu",):
                workers = options.workers or _auto_workers(cores, opened)
            else:  # every further worker would cost a context of its own on the same card
                workers = options.workers or len(devices)
            first = list(itertools.islice(units, workers))
            if first:
                settings = UnitSettings(
                    out=out.absolute(),
                    extractor=extractor.absolute(),
                    device=devices[0],
                    backend=backend,
                    threads=max(1, cores // len(first)),
                    head_indices=tuple(head_indices),
                    max_length=recipe.max_length,
                    layout=layout,
                    recipe=recipe,
                )
                on_start(
                    Start.after(
                        done.values(),
                        row_count=corpus.row_count,
                        workers=len(first),
                        threads=settings.threads,
                    )
                )
                with WorkerPool(settings, len(first), devices) as pool:
                    for summary in pool.map(itertools.chain(first, units)):
                        rejects.add(summary.rejects)
                        published.add(summary.unit)
                        on_unit(summary)
        records = workspace.final_records(recipe, published)
        if not any(record.samples for record in records):
            raise CorpusError(
                f"{source}: no row can be used. {rejects.first()} Repair the corpus or name the right columns."
            )
        publish_manifest(
            out,
            records,
            recipe,
            relevance="cls" if opened.relevance == "cls" else "received",
            tokenizer=tokenizer_of(opened),
            truncated=sum(record.truncated or 0 for record in records),
        )
        return Manifest.read(out)


def tokenizer_of(extractor: Extractor) -> TokenizerFile:
    """Return the tokenizer of an extractor, as a cache holds it."""
    return TokenizerFile.of(
        (extractor.folder / TOKENIZER).read_bytes(),
        fingerprint=extractor.tokenizer_fingerprint,
        special_ids=extractor.special_ids,
        pad_id=extractor.pad_id,
        vocab_size=extractor.vocab_size,
    )


def _auto_workers(cores: int, extractor: Extractor) -> int:
    memory = available_memory()
    graph = sum(path.stat().st_size for path in extractor.folder.glob("model.onnx*"))
    workers = sensible_workers(cores, memory, graph)
    if workers < cores:
        assert memory is not None
        _LOG.warning(
            f"{workers} of {cores} cores get a worker: {memory / 1e9:.1f} GB of memory are free, and each takes about "
            f"{worker_bytes(graph) / 1e9:.1f} GB. Set --workers N to use another number."
        )
    return workers


def _pending(corpus: Corpus, size: int, done: set[int]) -> Generator[tuple[int, list[Row]], None, None]:
    """Yield (unit, rows) of the units that are not done, reading the corpus once."""
    first = next(unit for unit in itertools.count() if unit not in done)
    # Closed with this generator: a stream that is still open when the interpreter ends may abort it.
    with contextlib.closing(corpus.rows(first * size)) as stream:
        for unit, rows in itertools.groupby(stream, key=lambda row: row.number // size):
            if unit not in done:
                yield unit, list(rows)


class _Rejects:
    """Counts rows that cannot be used, and stops the run past the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: list[Reject] = []

    def add(self, rejects: Sequence[Reject]) -> None:
        self._rows += rejects
        if len(self._rows) > self._limit:
            raise CorpusError(
                f"{len(self._rows)} rows cannot be used, --max-rejects is {self._limit}. {self.first()} "
                "Repair the corpus, or allow more rejects and run the same command again; finished shards are kept."
            )

    def first(self) -> str:
        shown = sorted(self._rows)[:3]
        return " ".join(f"Row {reject.row}: {reject.reason.rstrip('.')}." for reject in shown)


def _layout(
    extractor: Extractor,
    corpus: Corpus,
    corpus_options: CorpusOptions,
    options: PrecomputeOptions,
    heads: int,
) -> Layout:
    labelled = corpus.label_names is not None
    return Layout(
        heads=heads,
        dtype=options.dtype,
        wide_ids=extractor.vocab_size > 2**16,
        token_types=corpus_options.pair_column is not None and "token_type_ids" in extractor.inputs,
        classes=len(corpus.label_names or ()) if corpus.multi_label else 0,
        cls=labelled and not corpus.multi_label,
        text=options.keep_text,
    )


def _names_of(folder: Path) -> tuple[str, ...]:
    names = Manifest.read(folder).label_names
    if names is None:
        raise ShardError(
            f"--labels-from {folder}: that cache holds no labels. Name one that does, or use --labels a,b."
        )
    return names
