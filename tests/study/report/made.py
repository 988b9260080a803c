"""Runs, comparisons and analyses as documents alone: nothing is trained for pages that are only looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amix.study.attention.analysis import Analysis, HeadProfile
from amix.study.attention.inspection import InspectedText
from amix.study.runs import RunRecord
from amix.train.options.config import TrainConfig
from amix.train.options.file import Inputs
from amix.train.run.files import DEV, PREDICTIONS
from amix.train.run.log import Line, LossLine, ScoreLine, ShareLine
from amix.train.score.evaluate import Predictions

WORDS = "a model is right as often as it understands the commentary in an entertaining intermission".split()


def run_record(
    folder: Path,
    *,
    dev_p: Sequence[float] = (0.0, 0.4, 0.7),
    kept: int = 3,
    unpaired: int = 0,
    **options: Any,
) -> RunRecord:
    """A run of as many epochs as there are `dev_p`, the p that each line of the development set gives the next."""
    config = TrainConfig(**{"method": "attentionmix", "p": "auto", "epochs": len(dev_p), **options})
    metrics = {"accuracy": 0.75, "macro_f1": 0.7, "nll": 0.6, "ece": 0.1}
    log: list[Line] = []
    for epoch, p in enumerate(dev_p, 1):
        log.append(LossLine(step=10 * epoch, epoch=epoch, loss=1 / epoch, lr=1e-4, unpaired=unpaired))
        if config.p == "learnt" and p and not any(dev_p[: epoch - 1]):
            log.append(ShareLine(step=10 * epoch, epoch=epoch, p=p))
        more = {"p": p} if config.p == "auto" else {}
        log.append(ScoreLine(step=10 * epoch, epoch=epoch, kind="dev", name="dev", metrics=metrics | more))
    log.append(ScoreLine(step=10 * len(dev_p), epoch=kept, kind="eval", name="test", metrics=metrics))
    (folder / PREDICTIONS).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, texts in (("eval-test.safetensors", 2_400), (DEV, 300)):
        logits, truth = rng.normal(0, 2, (texts, 3)), rng.integers(0, 3, texts)
        logits[np.arange(texts), truth] += 1.5
        found = Predictions(logits_NC=logits, truth=truth, rows=np.arange(texts), multi_label=False)
        found.save(folder / PREDICTIONS / name)
    inputs = Inputs(shards="/home/someone/caches/train", model="/home/someone/minilm", dev="s3://host/dev")
    written = "# amix 1.2.3\nshards: /home/someone/caches/train\n"
    return RunRecord(
        folder=folder,
        config=config,
        shards=str(inputs.shards),
        inputs=inputs,
        written=written,
        log=tuple(log),
    )


def analysis(layers: int, heads: int) -> Analysis:
    """An analysis of heads that differ."""
    rng = np.random.default_rng(0)
    profiles = [
        HeadProfile(
            layer=layer,
            head=head,
            special={"[CLS]": float(rng.random()), "[SEP]": float(rng.random()) / 5},
            entropy=float(rng.random()),
            position=(2 * rng.random(10)).tolist(),
            kinds={"noun": 1.5, "determiner": 0.25},
        )
        for layer in range(layers)
        for head in range(heads)
    ]
    agreement = np.corrcoef(rng.normal(size=(len(profiles), 5))).reshape(len(profiles), -1)
    return Analysis(texts=2_000, heads=profiles, agreement=agreement.tolist())


def inspected_text(row: int, tokens: int, heads: int, label: str) -> InspectedText:
    """A text of words that are longer and shorter, with relevance that differs between heads."""
    words = ["[CLS]", *(WORDS[(row + place) % len(WORDS)] for place in range(tokens - 2)), "[SEP]"]
    relevance = np.random.default_rng(row).gamma(1.0, size=(heads, tokens)).astype(np.float32)
    content = np.array([not word.startswith("[") for word in words])
    return InspectedText(
        number=row, row=row, label=label, tokens=tuple(words), content=content, relevance_HT=relevance
    )
