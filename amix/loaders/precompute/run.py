"""A corpus through an extractor into a cache: in parallel, resumable, the same bytes every time.

The unit of work is one shard = one range of corpus rows. A unit that has a record is done; the manifest comes last and
makes the folder a cache.
"""

import contextlib
import itertools
import logging
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

from amix.engine.base.devices import cuda_index, parse_devices
from amix.engine.base.errors import CorpusError, DeviceError, ShardError
from amix.engine.base.gpu import free_bytes
from amix.engine.base.heads import select_heads
from amix.engine.base.machine import available_cores, available_memory
from amix.engine.base.stopping import signals_end
from amix.engine.extractor.folder import Extractor, open_extractor
from amix.engine.extractor.runner import SMALLER
from amix.engine.extractor.session import choose_backend, open_session
from amix.loaders.corpus import Corpus, CorpusOptions, Row, open_corpus
from amix.loaders.precompute.batching import Budget, gpu_bytes
from amix.loaders.precompute.options import PrecomputeOptions
from amix.loaders.precompute.progress import Start, UnitSummary
from amix.loaders.precompute.recipe import recipe_of, tokenizer_of
from amix.loaders.precompute.rejects import Rejects
from amix.loaders.precompute.sizing import sensible_workers, worker_bytes
from amix.loaders.precompute.unit import UnitSettings
from amix.loaders.precompute.workers import WorkerPool
from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.manifest import CorpusFile, Manifest
from amix.loaders.shards.workspace import Workspace, require_place, shards_are_kept

__all__ = ["PrecomputeOptions", "precompute"]

_LOG = logging.getLogger(__name__)


def precompute(
    source: str,
    out: Path,
    *,
    extractor: Path,
    corpus_options: CorpusOptions | None = None,
    options: PrecomputeOptions | None = None,
    on_corpus: Callable[[Corpus], None] = lambda corpus: None,
    on_start: Callable[[Start], None] = lambda start: None,
    on_unit: Callable[[UnitSummary], None] = lambda summary: None,
) -> Manifest:
    """Run every row of a corpus through an extractor and publish shards and manifest in `out`.

    A run that was stopped goes on where it was; a finished one is left as it is. The bytes depend on corpus, extractor
    and options, but not on the number of workers (docs/shards.md).
    on_corpus: called with the opened corpus, before anything is computed.
    on_start: called once when there are units to do, before the first worker starts.
    on_unit: called with the summary of each unit that this run publishes.
    Returns the manifest. Raises UsageError, CorpusError, ExtractorError, ShardError or DeviceError; what was
    published before stays.
    """
    options, corpus_options = options or PrecomputeOptions(), corpus_options or CorpusOptions()
    require_place(out)
    devices, opened = parse_devices(options.device), open_extractor(extractor)
    backend = choose_backend(opened, options.backend)
    if options.labels_from is not None:
        corpus_options = replace(corpus_options, labels=_names_of(options.labels_from))
    head_indices = select_heads(options.heads, opened.heads)
    corpus = open_corpus(source, corpus_options)
    on_corpus(corpus)
    budget = Budget.of(opened, devices[0].partition(":")[0], backend)
    recipe = recipe_of(
        opened,
        corpus,
        corpus_options,
        options,
        head_indices=head_indices,
        backend=backend,
        devices=devices,
        budget=budget,
    )
    if not options.restart:
        # A whole cache needs no device, and asking one costs its memory. Every other cache is looked at again below.
        with contextlib.suppress(ShardError):
            finished = Workspace(out).finished(recipe)
            if finished is not None:
                return finished
    for device in devices:  # one that is not available is found before anything is removed or written
        open_session(extractor, device=device, threads=1, backend=backend)  # each worker opens its own
    need = gpu_bytes(opened, budget, recipe.max_length, backend)
    _require_room(need, recipe.max_length, devices, options.workers or len(devices))

    with signals_end(shards_are_kept(out, options.restart)), Workspace(out) as workspace:
        if options.restart:
            workspace.clear()
        finished = workspace.finished(recipe)
        if finished is not None:
            return finished
        done = workspace.records(recipe)
        workspace.prepare()
        rejects = Rejects(source, options.max_rejects, corpus.row_count, corpus.remedy)
        for record in done.values():
            rejects.add(record.rejects)
        published = set(done)
        with contextlib.closing(_pending(corpus, options.samples_per_shard, set(done))) as units:
            cores = available_cores()
            if devices == ("cpu",):
                workers = options.workers or _auto_workers(cores, opened)
            else:  # each further worker on the same GPU needs its own CUDA context
                workers = options.workers or len(devices)
            # The first units are read here, so that no more workers start than there is work for.
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
                    special_ids=opened.special_ids,
                    layout=recipe.layout,
                    recipe=recipe,
                    budget=budget,
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
                f"{source}: no row can be used. {rejects.described()} Repair the corpus or name the right columns."
            )
        rejects.finish(records[-1].row_range[1])
        publish_manifest(
            out,
            records,
            recipe,
            relevance="cls" if opened.relevance == "cls" else "received",
            tokenizer=tokenizer_of(opened),
            truncated=sum(record.truncated or 0 for record in records),
            files=[CorpusFile(file.name, file.row_count or 0) for file in corpus.files],
        )
        return Manifest.read(out)


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


def _require_room(need: int, max_length: int, devices: Sequence[str], workers: int) -> None:
    """Refuse a GPU whose free memory is less than its workers need, each `need` bytes.

    No smaller batches are tried, since they must not depend on the card.
    """
    share = math.ceil(workers / len(devices))
    for device in devices:
        number = cuda_index(device)
        free = None if number is None else free_bytes(number)
        if free is not None and free < share * need:
            each = f" in each of {share} workers" if share > 1 else ""
            raise DeviceError(
                f"{device} has {free / 1e9:.1f} GB free, and texts of up to {max_length} tokens need about "
                f"{need / 1e9:.1f} GB{each}. {SMALLER}"
            )


def _pending(corpus: Corpus, size: int, done: set[int]) -> Generator[tuple[int, list[Row]], None, None]:
    """Yield (unit, rows) of the units that are not done, reading the corpus once."""
    first = next(unit for unit in itertools.count() if unit not in done)
    # Closed with this generator: a stream that is still open when the interpreter ends may abort it.
    with contextlib.closing(corpus.rows(first * size)) as stream:
        for unit, rows in itertools.groupby(stream, key=lambda row: row.number // size):
            if unit not in done:
                yield unit, list(rows)


def _names_of(folder: Path) -> tuple[str, ...]:
    names = Manifest.read(folder).label_names
    if names is None:
        raise ShardError(
            f"--labels-from {folder}: that cache holds no labels. Name one that does, or use --labels a,b."
        )
    return names
