"""`amix demo`: `amix fit` on a small built-in corpus, to see what it does and what it writes."""

import contextlib
import time
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from amix.cli.fit import installed_encoder, run_fit, show
from amix.cli.output import json_line, json_option, notice
from amix.cli.shell.places import LocalPath

ROLES = {"train": "train", "dev": "validation", "test": "test"}
# Few labels and many epochs make a classifier over-confident, which is what mixing helps against.
TRAINING = {"epochs": 8, "batch_size": 16, "lr": 1e-4, "seed": 0}  # options of TrainConfig


@click.command()
@click.argument("out", type=LocalPath(), default=Path("amix-demo"))
@click.option("--model", help="Hub id or folder of an encoder.  [default: the packaged MiniLM]")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Cores that one operation uses on the CPU. Without it: all that this process may use.",
)
@json_option
def command(out: Path, model: str | None, threads: int | None, as_json: bool) -> None:
    """Run 'amix fit' on 500 built-in sentences: 200 to train on, 100 to select the epoch, 200 to report on.

    A classifier is trained twice, without mixing and with attentionmix. Everything is written to OUT (amix-demo by
    default), which must be absent or empty, or a demo that was stopped, which goes on.
    """
    from amix.study.fit.settings import FitSettings

    began = time.perf_counter()
    model = model or packaged_encoder()
    with contextlib.ExitStack() as opened:
        corpora = {
            role: str(opened.enter_context(resources.as_file(_sentences() / f"{split}.jsonl")))
            for role, split in ROLES.items()
        }
        options = {**TRAINING, "threads": threads}
        settings = FitSettings(
            train=corpora["train"], dev=corpora["dev"], test=corpora["test"], model=model, options=options
        )
        result = run_fit(settings, out, baseline=True)
    if as_json:
        json_line({**result.as_dict(), "seconds": round(time.perf_counter() - began, 1)})
        return
    show(result)
    notice("\nOne seed and 200 test sentences are a demonstration. For results, see docs/results.md.")


def _sentences() -> Traversable:
    return resources.files("amix.cli") / "demo_data"


def packaged_encoder() -> str:
    """Return the folder of the packaged encoder. Raises DependencyError where it is absent."""
    from amix.engine.base.errors import DependencyError
    from amix.engine.base.installing import install

    packaged = installed_encoder()
    if packaged is None:
        raise DependencyError(
            f"amix demo needs an encoder. Install the packaged one with: {install('demo')}; or name one with --model."
        )
    return packaged
