"""A corpus to a classifier and a page about it: export, precompute, train, report, each as its own command does it."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from amix.engine.base.errors import TrainError
from amix.engine.base.place import require_writable
from amix.engine.base.processes import locked
from amix.engine.base.publish import sweep, write_atomic
from amix.engine.base.stopping import signals_end
from amix.engine.extractor.folder import RECORD, open_extractor
from amix.exporters.export import export
from amix.exporters.options import ExportOptions
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus
from amix.loaders.precompute.options import PrecomputeOptions
from amix.loaders.precompute.run import precompute as precompute_quietly
from amix.loaders.shards.manifest import Manifest
from amix.study.fit.commands import by_hand
from amix.study.fit.record import FitRecord
from amix.study.fit.result import FitResult
from amix.study.fit.settings import FitSettings
from amix.study.report.reports import report
from amix.train.options.auto import note_before
from amix.train.options.config import TrainConfig
from amix.train.options.dev import parse_dev
from amix.train.run import checkpoint
from amix.train.run.accelerator import limited_threads
from amix.train.run.files import MODEL
from amix.train.run.result import KeptResult, TrainResult
from amix.train.run.train import train

PAGE, RESULT = "report.html", "result.json"
_CHECKPOINT = 100  # optimizer steps, about a minute's work that a kill can cost


class Precompute(Protocol):
    """`precompute`, or the same with a bar."""

    def __call__(
        self,
        source: str,
        out: Path,
        *,
        extractor: Path,
        corpus_options: CorpusOptions | None = None,
        options: PrecomputeOptions | None = None,
    ) -> Manifest:
        """Run a corpus through an extractor."""


def fit(
    settings: FitSettings,
    out: Path,
    *,
    baseline: bool = False,
    precompute: Precompute = precompute_quietly,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> FitResult:
    """Fit a classifier to a corpus, and return what was found.

    out: absent or empty, or the folder of a fit with the same settings, which goes on where it was stopped. It gets
        `extractor`, `shards/train` (`dev`, `test`), `run`, `baseline` and the page, and what is finished is kept.
    baseline: also train without mixing.  precompute: how corpora become shards.
    on_stage: called with a sentence before each stage.
    Everything that can be is checked before the first stage. Raises AmixError.
    """
    require_writable(out)
    corpora = _opened(settings)
    record = FitRecord.of(settings, corpora)
    record.require_same(out)
    with locked(out, "fitting", TrainError), signals_end(lambda name: goes_on(out, name)):
        sweep(out)
        on_stage(f"1/4 export: the attention of layer 0 of {settings.model}")
        extractor = _extractor(settings, out / "extractor")

        on_stage(f"2/4 precompute: {', '.join(source for source, _ in settings.corpora().values())}")
        texts = _shards(settings, out / "shards", extractor, precompute)

        held_out = 0 if settings.held_out is None else round(settings.held_out.value * texts)
        configs = {"run": settings.config(texts)}
        if baseline and configs["run"].method != "none":
            configs["baseline"] = replace(configs["run"], method="none", p=None)
        p = configs["run"].settled(has_dev=parse_dev(settings.dev) is not None).p
        if (note := note_before(p, configs["run"].epochs)) is not None:
            on_stage(note)
        results = {}
        for name, config in configs.items():
            on_stage(f"3/4 train: {_in_words(config, texts, held_out)}")
            results[name] = _trained(settings, out, name, config, record)

        page = out / PAGE
        on_stage(f"4/4 report: {page}")
        write_atomic(page, report(out / "run").encode())
    return FitResult(
        out=out,
        page=page,
        model=out / "run" / MODEL,
        configs=configs,
        results=results,
        texts=texts,
        held_out=held_out,
        commands=tuple(by_hand(settings, Path(f"{out}-by-hand"), configs)),
    )


def goes_on(out: Path, name: str) -> str:
    """Return the message about a fit that a signal of this name ended."""
    return f"{out}: ended by {name}. What is finished is kept: the same command goes on there."


def _opened(settings: FitSettings) -> dict[str, Corpus]:
    """Return the corpora by role, opened: a wrong column is found before the first stage."""
    opened: dict[str, Corpus] = {}
    for role, (source, options) in settings.corpora().items():
        names = opened["train"].label_names if opened else options.labels
        opened[role] = open_corpus(source, replace(options, labels=names))
    return opened


def _extractor(settings: FitSettings, folder: Path) -> Path:
    """Export the encoder, unless that is done; the fit's record says of which encoder the folder is."""
    if (folder / RECORD).is_file():
        open_extractor(folder)  # raises ExtractorError where it is damaged
    else:
        with limited_threads(settings.threads):
            export(settings.model, folder, ExportOptions(layers=[0]))
    return folder


def _shards(settings: FitSettings, folder: Path, extractor: Path, precompute: Precompute) -> int:
    """Make the shards of every corpus, as far as they are not there, and return the number of training texts."""
    train = folder / "train"
    for role, (source, options) in settings.corpora().items():
        precompute(
            source,
            folder / role,
            extractor=extractor,
            corpus_options=options,
            options=PrecomputeOptions(
                labels_from=None if role == "train" else train, workers=settings.threads
            ),
        )
    return min(Manifest.read(train).samples, settings.samples or sys.maxsize)


def _trained(
    settings: FitSettings, out: Path, name: str, config: TrainConfig, record: FitRecord
) -> TrainResult:
    """Train, unless that is done; a run that was stopped goes on from its last checkpoint."""
    run, shards = out / name, out / "shards"
    if (run / RESULT).is_file():
        return KeptResult.read(run / RESULT).result
    goes_on_from_checkpoint = bool(checkpoint.find(run))
    if not goes_on_from_checkpoint:
        shutil.rmtree(run, ignore_errors=True)
    result = train(
        shards / "train",
        run,
        settings.model,
        replace(config, checkpoint_steps=config.checkpoint_steps or _CHECKPOINT),
        dev=settings.dev if settings.dev_is_part else shards / "dev",
        evals=[] if settings.test is None else [("test", shards / "test")],
        resume=goes_on_from_checkpoint,
    )
    KeptResult(identity=record.asked, result=result).write(run / RESULT)
    for each in checkpoint.find(run):
        shutil.rmtree(each)
    return result


def _in_words(config: TrainConfig, texts: int, held_out: int) -> str:
    """Return what is trained how long on what."""
    words = f"{config.method}, {config.epochs} epochs of {texts - held_out:,} texts"
    if held_out:
        words += f"; {held_out:,} more, the same share of each class, are held out to select the epoch"
    return words
