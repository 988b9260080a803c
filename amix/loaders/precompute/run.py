"""A corpus through an extractor into a cache: in parallel, resumable, the same bytes every time.

The unit of work is one shard = one range of corpus rows. A unit that has a record is done; the manifest comes last and
makes the folder a cache.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from amix.engine.base.devices import parse_devices
from amix.engine.base.errors import CorpusError, ShardError
from amix.engine.base.heads import select_heads
from amix.engine.base.stopping import signals_end
from amix.engine.extractor.folder import open_extractor
from amix.engine.extractor.session import choose_backend
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus
from amix.loaders.precompute.batching import Budget
from amix.loaders.precompute.options import PrecomputeOptions
from amix.loaders.precompute.progress import Start, UnitSummary
from amix.loaders.precompute.recipe import recipe_of, tokenizer_of
from amix.loaders.precompute.rejects import Rejects
from amix.loaders.precompute.scheduler.choose import require_scheduler, scheduler_of
from amix.loaders.precompute.scheduler.interface import Computing, Work
from amix.loaders.precompute.unit import UnitSettings
from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.manifest import CorpusFile, Manifest
from amix.loaders.shards.output.destination import destination, require_shared
from amix.loaders.shards.remote import remote_manifest
from amix.loaders.shards.workspace import Workspace, require_place, shards_are_kept
from amix.loaders.stores import is_remote, shown

__all__ = ["PrecomputeOptions", "precompute"]


def precompute(
    source: str,
    out: Path | str,
    *,
    extractor: Path,
    corpus_options: CorpusOptions | None = None,
    options: PrecomputeOptions | None = None,
    storage_options: dict[str, Any] | None = None,  # Any: fsspec's own options
    on_corpus: Callable[[Corpus], None] = lambda corpus: None,
    on_start: Callable[[Start], None] = lambda start: None,
    on_unit: Callable[[UnitSummary], None] = lambda summary: None,
) -> Manifest:
    """Run every row of a corpus through an extractor and publish shards and manifest in `out`.

    A run that was stopped goes on where it was; a finished one is left as it is. The bytes depend on corpus, extractor
    and options, but not on the number of workers (docs/shards.md).
    source: may be a URL of files, too.
    out: a folder, or a URL that fsspec can write to (`s3://bucket/cache`).
    storage_options: for URLs, as fsspec takes them; credentials among them are not shown.
    on_corpus: called with the opened corpus, before anything is computed.
    on_start: called once when there are units to do, before the first worker starts.
    on_unit: called with the summary of each unit that this run publishes.
    Returns the manifest. Raises UsageError, CorpusError, ExtractorError, ShardError or DeviceError; what was
    published before stays.
    """
    options, corpus_options = options or PrecomputeOptions(), corpus_options or CorpusOptions()
    place = destination(out, storage_options)
    require_shared(place)
    require_place(place)
    devices = parse_devices(options.device)
    require_scheduler(options, devices)
    opened = open_extractor(extractor)
    backend = choose_backend(opened, options.backend)
    if options.labels_from is not None:
        corpus_options = replace(corpus_options, labels=_names_of(options.labels_from))
    head_indices = select_heads(options.heads, opened.heads)
    corpus = open_corpus(source, corpus_options, storage_options)
    on_corpus(corpus)
    computing = Computing(
        extractor=opened,
        backend=backend,
        budget=Budget.of(opened, devices[0].partition(":")[0], backend),
        max_length=min(options.max_length, opened.max_length),
        workers=options.workers,
    )
    with scheduler_of(options, computing, devices) as scheduler:
        recipe = recipe_of(
            opened,
            corpus,
            corpus_options,
            options,
            head_indices=head_indices,
            backend=backend,
            environment=scheduler.environment(),
        )
        if not options.restart:
            # A whole cache needs no device, and asking one costs its memory. Every other one is looked at again below.
            with contextlib.suppress(ShardError):
                finished = Workspace(place).finished(recipe)
                if finished is not None:
                    return finished
        scheduler.require_devices()  # one that is not available is found before anything is removed or written

        with signals_end(shards_are_kept(place, options.restart)), Workspace(place) as workspace:
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
            work = Work(corpus=corpus, size=options.samples_per_shard, done=frozenset(done))
            with scheduler.crew(work) as crew:
                if crew.workers:
                    settings = UnitSettings(
                        out=place if place.path is None else place.path.absolute(),
                        extractor=extractor.absolute(),
                        device=devices[0],
                        backend=backend,
                        threads=crew.threads,
                        head_indices=tuple(head_indices),
                        max_length=recipe.max_length,
                        special_ids=opened.special_ids,
                        layout=recipe.layout,
                        recipe=recipe,
                        budget=computing.budget,
                    )
                    on_start(
                        Start.after(
                            done.values(),
                            row_count=corpus.row_count,
                            workers=crew.workers,
                            threads=crew.threads,
                        )
                    )
                    # Closed here: it ends the workers, and OUT is cleared of what they leave behind when they are gone.
                    with contextlib.closing(crew.map(settings)) as summaries:
                        for summary in summaries:
                            rejects.add(summary.rejects)
                            published.add(summary.unit)
                            on_unit(summary)
            records = workspace.final_records(recipe, published)
            if not any(record.samples for record in records):
                raise CorpusError(
                    f"{shown(source)}: no row can be used. {rejects.described()} Repair the corpus or name the right "
                    "columns."
                )
            rejects.finish(records[-1].row_range[1])
            return publish_manifest(
                place,
                records,
                recipe,
                relevance=opened.relevance,
                tokenizer=tokenizer_of(opened),
                files=[CorpusFile(file.name, file.row_count or 0) for file in corpus.files],
            )


def _names_of(cache: Path | str) -> tuple[str, ...]:
    manifest = remote_manifest(str(cache)) if is_remote(cache) else Manifest.read(Path(cache))
    names = manifest.label_names
    if names is None:
        raise ShardError(
            f"--labels-from {shown(cache)}: that cache holds no labels. Name one that does, or use --labels a,b."
        )
    return names
