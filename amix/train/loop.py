"""Fine-tuning a classifier on shards, with or without mixing: from folders to a finished run."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amix.engine.errors import TrainError, UsageError
from amix.loaders.dataset import RelevanceDataset
from amix.loaders.remote import shown
from amix.train.classifier import load_classifier, load_tokenizer, require_room
from amix.train.config import USES, TrainConfig
from amix.train.configfile import write_config
from amix.train.device import open_accelerator, seeded
from amix.train.evaluate import evaluate, label_names, open_eval_set
from amix.train.run import Run
from amix.train.runfolder import CONFIG, MetricsLog, open_run, publish_model

# May differ when a run is resumed: they change where and how often, not what comes out.
FREE = frozenset({"device", "checkpoint_steps", "log_steps", "eval_batch_size"})


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run came to.

    model: the folder that opens with `AutoModelForSequenceClassification.from_pretrained`.
    eval: metrics of that model per set.  dev: its metrics on the set that selected it, if one did.
    epoch: the one it is from, counted from 1.  steps: of the optimizer, in all.  seconds: of this call.
    """

    model: Path
    eval: dict[str, dict[str, float]]
    dev: dict[str, float] | None
    epoch: int
    steps: int
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
    """
    began = time.perf_counter()
    out = Path(out)
    start = open_run(out, resume)
    accelerator = open_accelerator(config.device, config.mixed_precision)
    cached = "head" in USES[config.method] and config.relevance_source == "cache"
    dataset = RelevanceDataset(shards, head=config.head if cached else None)
    names = label_names(dataset.manifest)
    if len(names) < 2 and not dataset.manifest.multi_label:
        raise TrainError(f"{shards}: has the one class {names[0]!r}; a classifier needs two.")
    dev_set = None if dev is None else open_eval_set(dev, dataset.manifest)
    eval_sets = {name: open_eval_set(folder, dataset.manifest) for name, folder in evals}
    if len(eval_sets) < len(evals):
        raise UsageError("two evaluation sets have the same name; give each its own: --eval NAME=SHARDS.")
    identity = {name: value for name, value in config.as_dict().items() if name not in FREE} | {
        "model": model,
        "shards": dataset.manifest.sha256,
        "dev": None if dev_set is None else dev_set.dataset.manifest.sha256,
    }
    tokenizer = load_tokenizer(model, dataset.manifest)

    with seeded(config.seed, accelerator.device):
        network = load_classifier(model, names, dataset.manifest).to(accelerator.device)
        for each in (
            dataset,
            *(known.dataset for known in (dev_set, *eval_sets.values()) if known is not None),
        ):
            require_room(network, model, each)
        run = Run(config, accelerator, dataset, network, dev_set, out, identity)
        if config.method != "none":
            run.check_site()
        out.mkdir(parents=True, exist_ok=True)
        if start is not None:
            run.restore(start)
        inputs = {"shards": shown(shards), "model": model, "dev": None if dev is None else shown(dev)}
        write_config(
            out / CONFIG, config, {**inputs, "eval": {name: shown(folder) for name, folder in evals}}
        )

        with MetricsLog(out, run.at.step) as log:
            run.train(log)
            epoch = run.select()
            path = publish_model(out, network, tokenizer)
            results = {
                name: evaluate(network, each, config.eval_batch_size) for name, each in eval_sets.items()
            }
            for name, metrics in results.items():
                log.evaluation(run.at.step, epoch, "eval", name, metrics)
    return TrainResult(
        model=path,
        eval=results,
        dev=run.at.best_metrics,
        epoch=epoch,
        steps=run.at.step,
        seconds=time.perf_counter() - began,
    )
