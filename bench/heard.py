"""What a classifier that was trained on clean texts hears of a mix: whose class it says, by how much of whom is in it.

    python bench/heard.py RUN/model SHARDS [--head 0.mean] [--rows 256]

Every row is mixed with one of another class in its batch; pairs whose texts the model both gets right count. Heard =
its probability of the row's class over that of both classes. First with one ratio for all words that face words, then
as AttentionMix mixes, where the label's weight is what the model is told that it heard.

Axes: B batch, T tokens, P pairs.
"""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from amix import AttentionMix, RelevanceDataset, RelevanceLoader
from amix.engine.mixing.partners import step_generator
from amix.engine.mixing.plan import Plan
from amix.loaders.stream.batch import Batch
from amix.train.model.classifier import Classifier, load_classifier
from amix.train.model.forward import forward
from amix.train.score.evaluate import label_names

RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
CLEAR = 0.8  # a text that is heard so far is heard alone


def heard(
    network: Classifier,
    batch: Batch,
    plan: Plan,
) -> torch.Tensor:
    """Return the probability of each row's class over that of it and its partner's, (B,)."""
    probability_BC = forward(network, batch, plan).softmax(dim=1)
    own_B, other_B = (
        probability_BC.gather(1, labels_B[:, None]).squeeze(1)
        for labels_B in (batch["labels"], batch["labels"][plan.partner])
    )
    return own_B / (own_B + other_B)


@torch.no_grad()
def main() -> None:
    """Listen, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("shards")
    parser.add_argument("--head", default="0.mean")
    parser.add_argument("--rows", type=int, default=256)
    given = parser.parse_args()

    dataset = RelevanceDataset(given.shards, head=given.head)
    manifest = dataset.manifest
    network = load_classifier(given.model, label_names(manifest), manifest).eval()
    mixer = AttentionMix(partner="other-class")
    uniform: dict[float, list[torch.Tensor]] = {ratio: [] for ratio in RATIOS}
    mixed: list[tuple[torch.Tensor, torch.Tensor]] = []
    loader: Any = RelevanceLoader(dataset, batch_size=32, seed=0)  # Any: its batches hold tensors and lists
    for number, batch in enumerate(loader):
        if number * 32 >= given.rows:
            break
        mask_BT, labels_B = batch["attention_mask"].bool(), batch["labels"]
        plan = mixer.plan(
            batch["attention_mask"],
            relevance=batch["relevance"],
            content=batch["content"],
            labels=labels_B,
            generator=step_generator(0, 0, number),
        )
        right_B = forward(network, batch).argmax(dim=1) == labels_B
        chosen_B = right_B & right_B[plan.partner] & (labels_B != labels_B[plan.partner])
        mixed.append((plan.label_weight[chosen_B], heard(network, batch, plan)[chosen_B]))
        both_BT = mask_BT & mask_BT[plan.partner]
        for ratio, found in uniform.items():
            ratio_BT = torch.where(both_BT, ratio, mask_BT.float())
            found.append(heard(network, batch, replace(plan, ratio=ratio_BT))[chosen_B])

    weight_P, heard_P = (torch.cat(column).double().numpy() for column in zip(*mixed, strict=True))
    lines = [f"{len(heard_P)} pairs", "", "| one ratio | heard | one text alone |", "|---|---|---|"]
    for ratio, found in uniform.items():
        of_ratio_P = torch.cat(found).double().numpy()
        lines.append(f"| {ratio:.2f} | {of_ratio_P.mean():.2f} | {_clear(of_ratio_P):.0%} |")
    correlation = np.corrcoef(weight_P, heard_P)[0, 1]
    lines += [
        "",
        f"AttentionMix, {given.head}: label weight {weight_P.mean():.2f} ± {weight_P.std():.2f}, one text heard alone "
        f"in {_clear(heard_P):.0%}, correlation of weight and heard {correlation:.2f}",
    ]
    print("\n".join(lines))  # noqa: T201  a bench prints


def _clear(heard_P: np.ndarray) -> float:
    return float(((heard_P > CLEAR) | (heard_P < 1 - CLEAR)).mean())


if __name__ == "__main__":
    main()
