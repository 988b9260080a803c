"""The stages of a fit. Each is what its own command does, and is left as it is where it is finished."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from amix.engine.extractor.folder import RECORD, open_extractor
from amix.exporters.export import export
from amix.exporters.options import ExportOptions
from amix.loaders.corpus import CorpusOptions
from amix.loaders.precompute.options import PrecomputeOptions
from amix.loaders.shards.manifest import Manifest
from amix.study.fit.record import FitRecord
from amix.study.fit.settings import FitSettings
from amix.train.options.config import TrainConfig
from amix.train.run import checkpoint
from amix.train.run.accelerator import limited_threads
from amix.train.run.files import CONFIG, MODEL
from amix.train.run.result import EpochSummary, KeptResult, TrainResult
from amix.train.run.train import train

RESULT = "result.json"
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


def extractor_of(settings: FitSettings, folder: Path) -> Path:
    """Export the encoder, unless that is done; the fit's record says of which encoder the folder is."""
    if (folder / RECORD).is_file():
        open_extractor(folder)  # raises ExtractorError where it is damaged
    else:
        with limited_threads(settings.threads):
            export(settings.model, folder, ExportOptions(layers=[0]))
    return folder


def shards_of(settings: FitSettings, folder: Path, extractor: Path, precompute: Precompute) -> int:
    """Make the shards of every corpus, as far as they are not there, and return the number of training texts."""
    train = folder / "train"
    for role, (source, options) in settings.corpora().items():
        precompute(
            source,
            folder / role,
            extractor=extractor,
            corpus_options=options,
            options=PrecomputeOptions(
                labels_from=None if role == "train" else train,
                workers=settings.threads,
                max_rejects=settings.max_rejects,
            ),
        )
    return min(Manifest.read(train).samples, settings.samples or sys.maxsize)


def trained(
    settings: FitSettings,
    out: Path,
    name: str,
    config: TrainConfig,
    record: FitRecord,
    on_epoch: Callable[[EpochSummary], None],
) -> TrainResult:
    """Train, unless that is done; a run that was stopped goes on from its last checkpoint."""
    run, shards = out / name, out / "shards"
    if (run / RESULT).is_file():
        return KeptResult.read(run / RESULT).result
    # A run that has a model and no checkpoint was stopped in its last moments, and cannot be gone on with.
    was_begun = (run / CONFIG).is_file() and (bool(checkpoint.find(run)) or not (run / MODEL).exists())
    if not was_begun:
        shutil.rmtree(run, ignore_errors=True)
    result = train(
        shards / "train",
        run,
        settings.model,
        replace(config, checkpoint_steps=config.checkpoint_steps or _CHECKPOINT),
        dev=settings.dev if settings.dev_is_part else shards / "dev",
        evals=[] if settings.test is None else [("test", shards / "test")],
        resume=was_begun,
        on_epoch=on_epoch,
    )
    KeptResult(identity=record.asked, result=result).write(run / RESULT)
    for each in checkpoint.find(run):
        shutil.rmtree(each)
    return result
