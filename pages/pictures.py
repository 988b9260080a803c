"""The pictures of the concepts page, from what `amix demo` wrote: `python -m pages.pictures amix-demo`."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path

from amix.engine.mixing.attentionmix import AttentionMix
from amix.study.attention.inspection import FULL, InspectedText, Inspector, shown_tokens
from amix.study.attention.tokens import readable
from amix.study.runs import load_predictions
from amix.train.score.evaluate import Predictions
from amix.train.score.metrics import reliability
from pages.svg import LETTER, WIDTH, box, dot, drawing, line, text

OUT = Path(__file__).parents[1] / "docs" / "pictures"
_EDGE = 16.0
_HEADS = ("0.mean", "0.9")  # of MiniLM; the second attends to few words
_ROWS = (61, 124)  # of the training sentences: short, of both classes, with whole words only
_BINS = 10


def relevance(inspector: Inspector, row: int, heads: tuple[str, ...]) -> str:
    """Return one text, shaded by the relevance of some heads."""
    one = inspector.text(row)
    parts, top = [], 30.0
    for head in heads:
        parts.append(text(_EDGE, top, f"head {head}", "soft"))
        words, top = _shaded(inspector, one, head, top + 22)
        parts += words
        top += 34
    ramp = [box(_EDGE + 112 + 20 * step, top - 11, 18, 14, "warm", step / 5) for step in range(6)]
    parts += [text(_EDGE, top, "attention: none", "soft"), *ramp]
    parts.append(text(_EDGE + 238, top, f"{FULL:g} times the mean", "soft"))
    return drawing("A sentence whose words are shaded by the attention they receive", top + 16, parts)


def _shaded(inspector: Inspector, one: InspectedText, head: str, top: float) -> tuple[list[str], float]:
    parts, x = [], _EDGE
    for token in shown_tokens(one, inspector.relevance(one, head)):
        width = LETTER * len(token.word) + 6
        if not token.is_glued and x > _EDGE:
            x += 4
        if x + width > WIDTH - _EDGE:
            x, top = _EDGE, top + 26
        if token.share is not None:
            parts.append(box(x, top - 15, width, 21, "warm", token.share))
        parts.append(text(x + 3, top, token.word, "" if token.share is not None else "soft"))
        x += width
    return parts, top


def mixing(inspector: Inspector, row: int, other: int, head: str) -> str:
    """Return two texts, position by position, between them the share of each in the mix."""
    one, two = inspector.text(row), inspector.text(other)
    mix = inspector.mix(one, two, head, AttentionMix())
    left, right = 138.0, 262.0
    parts = [
        text(left - 8, 26, "text a", "soft end"),
        text((left + right) / 2, 26, f"share of a, {head}", "soft middle"),
        text(right + 8, 26, "text b", "soft"),
    ]
    top = 50.0
    for place, ratio in enumerate(mix.ratio.tolist()):
        split = left + ratio * (right - left)
        for each, x, kind in ((one, left - 8, "end"), (two, right + 8, "")):
            if place < len(each.tokens):
                is_word = bool(each.content[place])
                parts.append(
                    text(x, top, readable(each.tokens[place])[0], kind if is_word else f"soft {kind}")
                )
        parts += [
            box(left, top - 13, split - left, 17, "warm"),
            box(split, top - 13, right - split, 17, "cool"),
        ]
        parts.append(text((left + right) / 2, top, f"{ratio:.2f}", "middle"))
        top += 21
    label = inspector.soft_label(one, two, mix.label_weight)
    said = " + ".join(f"{weight:.2f} {name}" for name, weight in label.items())
    parts.append(text(WIDTH / 2, top + 12, f"label: {said}", "middle"))
    return drawing("Two sentences and the share of each at every position of their mix", top + 28, parts)


def calibration(found: Mapping[str, Predictions]) -> str:
    """Return a reliability diagram of two models."""
    low, side, left, top = 0.5, 300.0, 64.0, 40.0

    def at(sure: float, right: float) -> tuple[float, float]:
        return left + side * (sure - low) / (1 - low), top + side * (1 - right)

    parts = [line([at(low, low), at(1, 1)], "soft-line", 1.5)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line([at(low, tick), at(1, tick)], "line"))
        parts.append(text(left - 8, at(low, tick)[1] + 4, f"{100 * tick:.0f} %", "soft end"))
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        parts.append(text(at(tick, 0)[0], top + side + 18, f"{100 * tick:.0f}", "soft middle"))
    parts.append(text(left, top - 16, "how often right", "soft"))
    parts.append(text(left + side, top + side + 36, "how sure, %", "soft end"))
    bottom = top + side + 62
    for (name, predictions), colour in zip(found.items(), ("warm", "cool"), strict=True):
        bins = reliability(*predictions.questions(), _BINS)
        for count, sure, right in zip(bins["samples"], bins["confidence"], bins["accuracy"], strict=True):
            if count:
                x, y = at(sure, right)
                parts.append(line([(x, y), at(sure, sure)], f"{colour}-line", 1.5))
                parts.append(dot(x, y, 2 + 0.75 * math.sqrt(count), f"{colour}-dot"))
        metrics = predictions.report()
        says = (
            f"{name}: accuracy {metrics['accuracy']:.2f}, NLL {metrics['nll']:.2f}, ECE {metrics['ece']:.2f}"
        )
        parts += [dot(_EDGE + 6, bottom - 4, 5, f"{colour}-dot"), text(_EDGE + 18, bottom, says, "soft")]
        bottom += 20
    return drawing("How sure two classifiers are, and how often they are right", bottom, parts)


def likelihood() -> str:
    """Return the cost of an answer by the probability that the model gave the right class."""
    left, top, side, high, most = 64.0, 40.0, 300.0, 200.0, 5.0

    def at(probability: float) -> tuple[float, float]:
        return left + side * probability, top + high * (1 + math.log(probability) / most)

    parts = []
    for tick in range(6):
        y = top + high * (1 - tick / most)
        parts += [line([(left, y), (left + side, y)], "line"), text(left - 8, y + 4, str(tick), "soft end")]
    for tick in (0, 25, 50, 75, 100):
        parts.append(text(left + side * tick / 100, top + high + 18, f"{tick}", "soft middle"))
    lowest = math.exp(-most)
    curve = [at(lowest ** (1 - step / 60)) for step in range(61)]
    parts.append(line(curve, "warm-line", 2.5))
    for probability in (0.02, 0.2, 0.5):
        x, y = at(probability)
        says = f"{100 * probability:.0f} %: {-math.log(probability):.2f}"
        parts += [dot(x, y, 5, "warm-dot"), text(x + 10, y - 10, says)]
    parts.append(text(left, top - 16, "cost of the answer", "soft"))
    parts.append(text(left + side, top + high + 36, "probability of the right class, %", "soft end"))
    return drawing("What an answer costs by the probability of the right class", top + high + 52, parts)


def main(demo: Path) -> None:
    """Draw all pictures. demo: the folder that `amix demo` wrote."""
    inspector = Inspector(demo / "shards" / "train")
    one, two = _ROWS
    runs = {"none": "baseline", "attentionmix": "run"}
    found = {name: load_predictions(demo / folder, "test") for name, folder in runs.items()}
    pictures = {
        "relevance": relevance(inspector, one, _HEADS),
        "mixing": mixing(inspector, one, two, _HEADS[1]),
        "calibration": calibration(found),
        "nll": likelihood(),
    }
    OUT.mkdir(exist_ok=True)
    for name, svg in pictures.items():
        (OUT / f"{name}.svg").write_text(svg, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
