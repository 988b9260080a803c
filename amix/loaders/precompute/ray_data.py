"""For pipelines of Ray Data: relevance as a step of `Dataset.map_batches`, and shards from what comes out.

    texts = ray.data.read_parquet("texts/").map_batches(
        Relevance,
        fn_constructor_kwargs={"extractor": "extractor/"},
        compute=ray.data.ActorPoolStrategy(size=8),  # one session each
        batch_size=1024,
    )
    write_shards(texts, "shards/", extractor="extractor/", source={"name": "my texts, version 3"})

Axes: N rows of a batch, H heads, T tokens of a text.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.devices import parse_device
from amix.engine.base.errors import CorpusError, UsageError
from amix.engine.base.heads import select_heads
from amix.engine.extractor.folder import Backend, open_extractor
from amix.engine.extractor.session import choose_backend, open_session
from amix.loaders.corpus import Row
from amix.loaders.corpus.labels import Labels, UnusableError, kind_of
from amix.loaders.corpus.text import flaw_of_text
from amix.loaders.precompute.batching import Budget, collated, length_batches
from amix.loaders.precompute.environment import environment
from amix.loaders.precompute.recipe import extractor_in_recipe, tokenizer_of
from amix.loaders.precompute.scheduler.worker import tokenizer_environment
from amix.loaders.precompute.tokenize import TextEncoder
from amix.loaders.shards.choices import RelevanceDtype
from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import Reject, ShardFacts
from amix.loaders.shards.workspace import Workspace, require_place
from amix.loaders.shards.writer import Sample, ShardWriter

if TYPE_CHECKING:
    from ray.data import Dataset

Columns = Mapping[str, NDArray[Any]]  # Any: columns are of all types; objects where rows differ in length


class Relevance:
    """Adds `input_ids`, `relevance` and `truncated` to batches with a text column. One session each.

    Called with columns of N rows, it returns them with `input_ids` ((T,) int64 each), `relevance` ((H, T) float32
    each, special tokens included) and `truncated` (bool: the text was cut at `max_length`). A row without a text that
    can be used gets 0 tokens. On the CPU the numbers do not depend on the batches.
    """

    def __init__(
        self,
        extractor: str | Path,
        *,
        text_column: str = "text",
        heads: str = "all",
        max_length: int = 512,
        device: str = "cpu",
        backend: Backend | None = None,
        threads: int = 1,
    ) -> None:
        """Open a session. Raises ExtractorError, HeadError or DeviceError.

        extractor: a folder, which every node sees.  heads: `all`, layers (`0`) or heads (`0.8,1.3`).
        device: `cpu`, or `cuda` for the GPU that Ray gives (`num_gpus`).  threads: of the session, as `num_cpus`.
        """
        folder = Path(extractor)
        opened = open_extractor(folder)
        kind = parse_device(device)
        os.environ.update(tokenizer_environment(kind, threads))
        backend = choose_backend(opened, backend)
        self._text_column = text_column
        self._heads = list(select_heads(heads, opened.heads))
        self._budget = Budget.of(opened, kind.partition(":")[0], backend)
        self._encoder = TextEncoder(
            folder / "tokenizer.json", min(max_length, opened.max_length), opened.special_ids
        )
        self._session = open_session(folder, device=kind, threads=threads, backend=backend)

    def __call__(self, batch: Columns) -> dict[str, NDArray[Any]]:
        """Return the batch with the new columns. Raises UsageError where it has no text column."""
        if self._text_column not in batch:
            raise UsageError(
                f"the batch has no column '{self._text_column}'; it has: {', '.join(batch)}. Name the one with the "
                "texts by text_column."
            )
        texts = batch[self._text_column].tolist()
        usable = [number for number, text in enumerate(texts) if flaw_of_text(text) is None]
        encoded = self._encoder.encode([Row(number, texts[number]) for number in usable])
        kept = {number: each for number, each in zip(usable, encoded, strict=True) if each.flaw is None}
        ids = _objects(np.zeros(0, np.int64) for _ in texts)
        relevance = _objects(np.zeros((len(self._heads), 0), np.float32) for _ in texts)
        truncated = np.zeros(len(texts), bool)
        numbers = list(kept)
        for places in length_batches([len(kept[number].ids) for number in numbers], self._budget):
            found = [numbers[place] for place in places]
            relevance_BHT = self._session.run(*collated([kept[number] for number in found]))
            for number, relevance_HT in zip(found, relevance_BHT, strict=True):
                ids[number] = kept[number].ids
                relevance[number] = relevance_HT[self._heads, : len(kept[number].ids)]
                truncated[number] = kept[number].truncated
        return {**batch, "input_ids": ids, "relevance": relevance, "truncated": truncated}


def write_shards(
    dataset: "Dataset",
    out: str | Path,
    *,
    extractor: str | Path,
    source: Mapping[str, object],
    label_names: Sequence[str] | None = None,
    label_column: str = "label",
    heads: str = "all",
    max_length: int = 512,
    dtype: RelevanceDtype = "float16",
    samples_per_shard: int = 4096,
    device: str = "cpu",
) -> Manifest:
    """Publish what `Relevance` computed as a cache, and return the manifest. The calling process writes all shards.

    dataset: with the columns of `Relevance`, and `preserve_order` set in its execution options.
    source: JSON that says what the rows are; the recipe holds it.  label_names: in the order of their ids; the values
        of `label_column` are either. None for a cache without labels.  The rest as `Relevance` was told.
    Finished shards of an earlier run with the same recipe are kept; their rows are computed again, and not written.
    Raises ShardError, StorageError, UsageError; CorpusError where there are no rows.
    """
    if not dataset.context.execution_options.preserve_order:
        raise UsageError(
            "write_shards: the order of the rows may differ from run to run. Before you make the data set, set "
            "ray.data.DataContext.get_current().execution_options.preserve_order = True."
        )
    folder, opened, kind = Path(out), open_extractor(Path(extractor)), parse_device(device)
    require_place(folder)
    chosen = select_heads(heads, opened.heads)
    backend = choose_backend(opened, None)
    layout = Layout(
        heads=len(chosen),
        dtype=dtype,
        wide_ids=opened.vocab_size > 2**16,
        token_types=False,
        classes=0,
        cls=label_names is not None,
        text=False,
    )
    recipe = Recipe.of(
        heads=[opened.heads[index] for index in chosen],
        layout=layout,
        max_length=min(max_length, opened.max_length),
        label_names=label_names,
        samples_per_shard=samples_per_shard,
        extractor=extractor_in_recipe(opened, backend),
        corpus={"kind": "ray_data", **source},
        environment=environment(backend, (kind,), Budget.of(opened, kind.partition(":")[0], backend)),
    )
    with Workspace(folder) as workspace:
        finished = workspace.finished(recipe)
        if finished is not None:
            return finished
        done = workspace.records(recipe)
        workspace.prepare()
        units: set[int] = set()
        batches = dataset.iter_batches(batch_size=samples_per_shard, batch_format="numpy")
        for unit, batch in enumerate(batches):
            first = unit * samples_per_shard
            rows = range(first, first + len(batch["input_ids"]))
            units.add(unit)
            if unit not in done or done[unit].row_range != (rows.start, rows.stop):
                _write(ShardWriter(folder, unit, layout), batch, rows, recipe, label_column)
        records = workspace.final_records(recipe, units)
        if not any(record.samples for record in records):
            raise CorpusError("the batches hold no text that can be used.")
        return publish_manifest(
            folder, records, recipe, relevance=opened.relevance, tokenizer=tokenizer_of(opened)
        )


def _write(writer: ShardWriter, batch: Columns, rows: range, recipe: Recipe, label_column: str) -> None:
    ids, flaws, labels = batch["input_ids"], dict[int, str](), [-1] * len(rows)
    for place, value in enumerate(batch[label_column].tolist() if recipe.label_names else labels):
        if not len(ids[place]):
            flaws[place] = "text cannot be used"
        elif recipe.label_names:
            try:
                labels[place] = _class_id(value, recipe.label_names)
            except UnusableError as problem:
                flaws[place] = str(problem)
    kept = [place for place in range(len(rows)) if place not in flaws]
    writer.publish(
        [Sample(row=rows[place], ids=ids[place], label=labels[place]) for place in kept],
        ((number, batch["relevance"][place]) for number, place in enumerate(kept)),
        ShardFacts(
            row_range=(rows.start, rows.stop),
            rejects=tuple(Reject(rows[place], flaw) for place, flaw in flaws.items()),
            recipe=recipe,
            truncated=int(np.count_nonzero(batch["truncated"][kept])),
        ),
    )


def _class_id(value: object, names: tuple[str, ...]) -> int:
    """Return the class that a value means: its name, or its number. Raises UnusableError."""
    found = Labels(names, kind_of(value)).read(value)
    if not isinstance(found, int):
        raise UnusableError("label is a list; it must be a number or a name")
    return found


def _objects(arrays: Iterable[NDArray[Any]]) -> NDArray[np.object_]:
    """Return a column of arrays, each of its own length."""
    found = list(arrays)
    column = np.empty(len(found), object)
    column[:] = found
    return column
