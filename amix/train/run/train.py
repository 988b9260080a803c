"""Fine-tuning a classifier on shards, with or without mixing: from folders to a finished run."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from amix.engine.base import publish
from amix.loaders.stores import shown
from amix.train.heads.ranking import best_head
from amix.train.model.classifier import Classifier, embeddings_of, load_tokenizer, require_room
from amix.train.options.auto import AUTO
from amix.train.options.config import TrainConfig
from amix.train.options.dev import parse_dev
from amix.train.options.file import Inputs
from amix.train.options.identity import identity_of
from amix.train.run.accelerator import limited_threads, open_accelerator, seeded
from amix.train.run.checkpoint import Progress
from amix.train.run.data.sets import Sets, open_sets, reads_cached_relevance
from amix.train.run.ensemble import remove_strangers, train_others
from amix.train.run.files import MODEL
from amix.train.run.folder import open_run, publish_model, publish_predictions, run_folder
from amix.train.run.folds import cross_validate
from amix.train.run.log import MetricsLog
from amix.train.run.maker import RunMaker, load_network
from amix.train.run.report import Report
from amix.train.run.result import EpochSummary, TrainResult

_LOG = logging.getLogger(__name__)


def train(
    shards: str | Path,
    out: str | Path,
    model: str,
    config: TrainConfig,
    dev: str | Path | None = None,
    evals: Sequence[tuple[str, str | Path]] = (),
    *,
    resume: bool = False,
    on_epoch: Callable[[EpochSummary], None] = lambda summary: None,
) -> TrainResult:
    """Train a classifier on shards and write a run folder.

    shards: what `amix precompute` wrote.  out: absent or empty, unless `resume`.  model: Hub id or folder.
    dev: what selects the best epoch, by accuracy, then NLL: shards, or as text a share of the training texts (`0.2`),
        which is held out. Without it (None or `none`) the last epoch is kept; also with `cv:5`, where models of five
        folds of the training texts give the confidence gap and the temperature.
    evals: (name, shards) pairs that are only reported, once, for the model that is saved.
    resume: continue from the newest checkpoint in `out`; on the CPU the outcome is that of an undisturbed run.
    on_epoch: called after each epoch, in the first process alone.
    Everything is opened and compared before anything is written. Raises AmixError.
    Under `torchrun` or `accelerate launch` all processes call this alike, and the first one writes.
    """
    began = time.perf_counter()
    out, chosen = Path(out), parse_dev(dev)
    config = config.settled(has_dev=chosen is not None)
    accelerator = open_accelerator(config.device, config.mixed_precision)
    with accelerator.main_process_first():  # the first process cleans up before the others look
        start = open_run(out, resume, writes=accelerator.is_main_process)
    if resume and start is None and accelerator.is_main_process:
        _LOG.warning(
            f"{out}: holds no checkpoint, so training begins with the first epoch. --checkpoint-steps N writes some."
        )
    sets = open_sets(shards, config, chosen, evals)
    tokenizer = load_tokenizer(model, sets.manifest)

    with limited_threads(config.threads), seeded(config.seed, accelerator.device):
        network = load_network(model, sets, config.seed, accelerator)
        for each in sets:
            require_room(network, model, each)
        if reads_cached_relevance(config) and config.head == AUTO:
            sets = _with_best_head(shards, sets, network, accelerator)
        maker = RunMaker(
            config=config,
            accelerator=accelerator,
            model=model,
            sets=sets,
            tokenizer=tokenizer,
            out=out,
            identity=_identity(config, model, sets),
        )
        run = maker.main(network)
        if config.method != "none":
            run.check_site()
        if start is not None:
            run.restore(start)
        accelerator.wait_for_everyone()  # nothing is written until all have found everything in order

        is_first = accelerator.is_main_process
        with (
            publish.explained(out),
            run_folder(out, config, _inputs(shards, model, dev, evals), writes=is_first),
            MetricsLog(out, run.at.step, writes=is_first) as log,
        ):
            if config.head == AUTO and sets.training.head is not None:
                log.head(sets.training.head)
            folds = cross_validate(maker) if sets.folds else None
            judged = None if folds is None else folds.epochs
            others = train_others(maker, judged)
            # The model of `model/` comes last: a run that has one is finished.
            run.train(log, judged, on_epoch=on_epoch)
            epoch = run.select()
            report = Report.of(run, sets, folds, others)
            if is_first:
                remove_strangers(maker, len(report.others))
                publish_model(out, network, tokenizer)
            report.log(log, run.at.step, epoch)
            if is_first:
                publish_predictions(out, report.on_evals, report.on_dev, report.of_ensemble)
        accelerator.wait_for_everyone()
    parts = [each for each in (folds, *others) if each is not None]
    return TrainResult(
        model=out / MODEL,
        **report.scores(),
        head=_mixed_by(config, sets),
        largest_p=_largest_p(run.at),
        epoch=epoch,
        steps=run.at.step + sum(each.steps for each in parts),
        tokens=run.at.tokens + sum(each.tokens for each in parts),
        seconds=time.perf_counter() - began,
        changed_labels=sets.changed_labels,
    )


def _largest_p(at: Progress) -> float | None:
    """Return the largest `p` that the model which was kept was trained with, None where `p` followed nothing."""
    if at.p is None:
        return None
    return at.largest_p if at.best_epoch is None else at.best_p


def _mixed_by(config: TrainConfig, sets: Sets) -> str | None:
    """Return the head spec of the relevance used for mixing, None without."""
    if "head" not in config.uses:
        return None
    return sets.training.head if config.head == AUTO else config.head


def _with_best_head(shards: str | Path, sets: Sets, network: Classifier, accelerator: Accelerator) -> Sets:
    """Return the sets with the relevance of the head that is ranked first for the training texts."""
    with accelerator.main_process_first():  # the first process ranks, the others read its ranking
        best = best_head(shards, sets.training, embeddings_of(network), sets.subset)
    return replace(sets, training=sets.training.with_head(best.head))


def _identity(config: TrainConfig, model: str, sets: Sets) -> dict[str, object]:
    """Return what must be the same in a checkpoint for the run to continue from it."""
    return {
        **identity_of(config),
        "model": model,
        "shards": sets.manifest.sha256,
        "dev": sets.dev_identity,
    }


def _inputs(
    shards: str | Path, model: str, dev: str | Path | None, evals: Sequence[tuple[str, str | Path]]
) -> Inputs:
    return Inputs(
        shards=shown(shards),
        model=model,
        dev=None if dev is None else shown(dev),
        evals={name: shown(each) for name, each in evals},
    )
