"""Fine-tuning a classifier on shards, with or without mixing: from folders to a finished run."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amix.engine.base import publish
from amix.engine.base.errors import TrainError, UsageError
from amix.loaders.shards.remote import shown
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.heads.ranking import best_head
from amix.train.model.classifier import load_classifier, load_tokenizer, require_room
from amix.train.options.config import AUTO, USES, TrainConfig
from amix.train.options.rules import require_set_name
from amix.train.run.accelerator import open_accelerator, seeded
from amix.train.run.files import MODEL
from amix.train.run.folder import (
    MetricsLog,
    open_run,
    publish_model,
    publish_predictions,
    run_folder,
)
from amix.train.run.loop import Run
from amix.train.run.subset import draw_subset
from amix.train.score.evaluate import label_names, open_eval_set, predictions

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run came to.

    model: the folder that opens with `AutoModelForSequenceClassification.from_pretrained`.
    eval: metrics of that model per set.  dev: its metrics on the set that selected it, if one did.
    calibration: more of them per set (`metrics.calibration`).
    temperature: the one that fits the set that selected it, if one did; scaled: `calibration` of the logits divided
        by it, which is what every method should be compared with.
    head: the spec of the relevance that was mixed by, if one was; of `auto` the one chosen.
    largest_p: share of rows to be mixed in the epoch that had most, where it followed the development set.
    epoch: the one it is from, counted from 1.  steps: of the optimizer, in all.  seconds: of this call.
    tokens: that went through the model to train it, once for each forward pass of a step.
    """

    model: Path
    eval: dict[str, dict[str, float]]
    dev: dict[str, float] | None
    calibration: dict[str, dict[str, float]]
    temperature: float | None
    scaled: dict[str, dict[str, float]]
    head: str | None
    largest_p: float | None
    epoch: int
    steps: int
    tokens: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self), "model": str(self.model)}


def train(
    shards: str | Path,
    out: str | Path,
    model: str,
    config: TrainConfig,
    dev: str | Path | None = None,
    evals: Sequence[tuple[str, str | Path]] = (),
    *,
    resume: bool = False,
) -> TrainResult:
    """Train a classifier on shards and write a run folder.

    shards: what `amix precompute` wrote.  out: absent or empty, unless `resume`.  model: Hub id or folder.
    dev: shards that select the best epoch, by accuracy, then NLL; without it the last epoch is kept.
    evals: (name, shards) pairs that are only reported, once, for the model that is saved.
    resume: go on from the newest checkpoint in `out`; on the CPU the outcome is that of an undisturbed run.
    Everything is opened and compared before anything is written. Raises AmixError.
    Under `torchrun` or `accelerate launch` all processes call this alike, and the first one writes.
    """
    began = time.perf_counter()
    out, config = Path(out), config.settled(has_dev=dev is not None)
    accelerator = open_accelerator(config.device, config.mixed_precision)
    with accelerator.main_process_first():  # it tidies up, the others find it done
        start = open_run(out, resume)
    cached = "head" in USES[config.method] and config.relevance_source == "cache"
    is_auto = cached and config.head == AUTO
    dataset = RelevanceDataset(shards, head=config.head if cached and not is_auto else None)
    names = label_names(dataset.manifest)
    if len(names) < 2 and not dataset.manifest.multi_label:
        raise TrainError(f"{shards}: has the one class {names[0]!r}; a classifier needs two.")
    dev_set = None if dev is None else open_eval_set(dev, dataset.manifest)
    for name, _ in evals:
        require_set_name(name, "--eval")
    eval_sets = {name: open_eval_set(folder, dataset.manifest) for name, folder in evals}
    if len(eval_sets) < len(evals):
        raise UsageError("two evaluation sets have the same name; give each its own: --eval NAME=SHARDS.")
    for name, known in eval_sets.items():
        if dev_set is not None and known.dataset.manifest.sha256 == dev_set.dataset.manifest.sha256:
            _LOG.warning(
                f"--eval {name}: these are the shards that --dev selects on, so what is reported on them flatters."
            )
    for name, value in (("patience", config.patience), ("p auto", config.p == AUTO)):
        if value and dev_set is None:
            raise UsageError(f"{name} needs --dev, shards that tell how training goes.")
    identity = {
        **config.identity(),
        "model": model,
        "shards": dataset.manifest.sha256,
        "dev": None if dev_set is None else dev_set.dataset.manifest.sha256,
    }
    tokenizer = load_tokenizer(model, dataset.manifest)

    with seeded(config.seed, accelerator.device):
        network = load_classifier(model, names, dataset.manifest).to(accelerator.device)
        for each in (
            dataset,
            *(given.dataset for given in (dev_set, *eval_sets.values()) if given is not None),
        ):
            require_room(network, model, each)
        head = config.head if "head" in USES[config.method] else None
        if is_auto:
            with accelerator.main_process_first():  # it ranks, the others find the ranking
                numbers = draw_subset(len(dataset), config.train_samples, config.subset_seed, dataset.folder)
                embeddings = network.get_input_embeddings().weight
                head = best_head(shards, dataset.manifest, embeddings, numbers).head
            dataset = RelevanceDataset(shards, head=head)
        run = Run(config, accelerator, dataset, network, dev_set, out, identity)
        if config.method != "none":
            run.check_site()
        if start is not None:
            run.restore(start)
        is_first = accelerator.is_main_process
        accelerator.wait_for_everyone()  # nothing is written until all have found everything in order
        inputs = {
            "shards": shown(shards),
            "model": model,
            "dev": None if dev is None else shown(dev),
            "eval": {name: shown(each) for name, each in evals},
        }
        with (
            publish.explained(out),
            run_folder(out, config, inputs, writes=is_first),
            MetricsLog(out, run.at.step, writes=is_first) as log,
        ):
            if is_auto and head is not None:
                log.head(head)
            run.train(log)
            epoch = run.select()
            if is_first:
                publish_model(out, network, tokenizer)
            said = {
                name: predictions(network, each, config.eval_batch_size) for name, each in eval_sets.items()
            }
            results = {name: each.report() for name, each in said.items()}
            for name, metrics in results.items():
                log.evaluation(run.at.step, epoch, "eval", name, metrics)
            on_dev = None if dev_set is None else predictions(network, dev_set, config.eval_batch_size)
            if is_first:
                publish_predictions(out, said, on_dev)
        accelerator.wait_for_everyone()
    temperature = None if on_dev is None else on_dev.temperature()
    return TrainResult(
        model=out / MODEL,
        eval=results,
        dev=None if on_dev is None else on_dev.report(),
        calibration={name: each.calibration() for name, each in said.items()},
        temperature=temperature,
        scaled={}
        if temperature is None
        else {name: each.calibration(temperature) for name, each in said.items()},
        head=head,
        largest_p=None if run.at.p is None else run.at.largest_p,
        epoch=epoch,
        steps=run.at.step,
        tokens=run.at.tokens,
        seconds=time.perf_counter() - began,
    )
