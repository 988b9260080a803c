"""What a method costs per training step, relative to plain fine-tuning, and what the cache saves.

    python bench/step_cost.py SHARDS --model MODEL [--steps 200] [--device cuda] [--precision bf16] [--json FILE]

Every variant takes its turn on the same batch of 32, loader, plan, forward, backward, clipping and optimizer
included; the order rotates from step to step. A ratio is the median over steps of variant / none, both taken in
the same step. `online` reads relevance off the model in training: up to the layer of its head (what amix does), or
in a pass through the whole model (what a training loop that asks its model for attentions does).
Mixing alone = drawing the plan and mixing embeddings and labels; extra pass = reading attention or saliency.
On a GPU every clock waits for what was begun, and plans are made where `amix train` makes them.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measuring.turns import finish

from amix.engine.mixing.partners import step_generator
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import RelevanceLoader
from amix.train.model.batch import to_device
from amix.train.model.classifier import load_classifier
from amix.train.objective.mixers import build_mixer
from amix.train.objective.objective import Objective
from amix.train.objective.online import OnlineRelevance
from amix.train.options.config import TrainConfig
from amix.train.run.optim import build_optimizer
from amix.train.score.evaluate import label_names

VARIANTS: dict[str, dict[str, Any]] = {
    "none": {"method": "none"},
    "wordmixup": {"method": "wordmixup"},
    "attentionmix": {"method": "attentionmix", "head": "0.mean"},
    "attentionmix, online": {"method": "attentionmix", "head": "0.mean", "relevance_source": "online"},
    "attentionmix, online, whole pass": {
        "method": "attentionmix",
        "head": "LAST.mean",
        "relevance_source": "online",
    },
    "sentencemixup": {"method": "sentencemixup"},
    "tmix": {"method": "tmix"},
    "ssmix": {"method": "ssmix"},
    "attentionmix, hidden": {"method": "attentionmix", "level": "hidden:1", "head": "0.mean"},
    "wordmixup, clean_weight 0.5": {"method": "wordmixup", "clean_weight": 0.5},
}
TARGETS = {"wordmixup": 1.03, "attentionmix": 1.03}


class Variant:
    """One method with its own loader; the model and its optimizer are everyone's."""

    def __init__(
        self,
        network: Any,  # noqa: ANN401  a transformers classifier
        dataset_of: Callable[[str | None], RelevanceDataset],
        options: dict[str, Any],
        device: torch.device,
        *,
        half: bool,
    ) -> None:
        self.device, self.half = device, half
        depth = network.config.num_hidden_layers
        options = {**options}
        if "head" in options:
            options["head"] = options["head"].replace("LAST", str(depth - 1))
        config = TrainConfig(**{"p": 1.0, **options}).settled(has_dev=False)
        is_online = config.relevance_source == "online"
        cached = config.method == "attentionmix" and not is_online
        self.dataset = dataset_of(config.head if cached else None)
        self.online = OnlineRelevance(network, config.head) if is_online else None
        self.objective = Objective(
            mixer=build_mixer(config, network),
            num_classes=len(label_names(self.dataset.manifest)),
            clean_weight=config.clean_weight,
            online=self.online,
            checks_labels=False,  # as in training, which looks at them on the host
        )
        self.network = network
        self.batches = self._endless()

    def _endless(self) -> Iterator[tuple[int, int, Batch, float]]:
        """Yield epoch, number, batch and the seconds that reading it took."""
        loader = RelevanceLoader(self.dataset, batch_size=32, seed=0)
        for epoch in range(10**6):
            loader.set_epoch(epoch)
            began = time.perf_counter()
            for number, batch in enumerate(loader):
                seconds = time.perf_counter() - began
                # The last batch of an epoch is shorter, and would be another step.
                if len(batch["input_ids"]) == 32:
                    yield epoch, number, batch, seconds
                began = time.perf_counter()

    def step(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Take one training step; return seconds of the whole and of its parts."""
        epoch, number, batch, loading = next(self.batches)
        began = self._now()
        with self._precision():
            on_device = to_device(batch, self.device)
            plan = self.objective.plan(
                self.network,
                on_device if self._plans_on_device() else batch,
                step_generator(0, epoch, number),
            ).to(self.device)
            planned = self._now()
            loss = self.objective.loss(self.network, on_device, plan)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step = loading + self._now() - began
        mixing = self._mixing_alone(batch, epoch, number)
        return {"step": step, "loading": loading, "extra pass": planned - began - mixing["plan"], **mixing}

    def _plans_on_device(self) -> bool:
        return self.online is not None or "saliency" in self.objective.mixer.needs

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _mixing_alone(self, batch: Batch, epoch: int, number: int) -> dict[str, float]:
        """Time the plan without the pass that its relevance may come from, and what the plan does to a batch."""
        mixer, mask_BT = self.objective.mixer, batch["attention_mask"]
        # They stand for saliency too, which costs nothing here.
        scores_BT = batch.get("relevance", mask_BT.float())
        labels = batch["labels"].to(self.device)
        words_BTD = self.network.get_input_embeddings()(batch["input_ids"].to(self.device)).detach()
        began = self._now()
        plan = mixer.plan(
            mask_BT,
            relevance=scores_BT,
            saliency=scores_BT,
            content=batch["content"],
            labels=batch["labels"],
            generator=step_generator(0, epoch, number),
        ).to(self.device)
        planned = self._now()
        if plan.site != "pooled":
            plan.mix(words_BTD)
        plan.mix_labels(labels, self.objective.num_classes, check=False)
        return {"plan": planned - began, "mixing": self._now() - began}


def main() -> None:
    """Measure in turn, print the table, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards")
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--variants", help="a selection, with ; between them; none is always there")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision", choices=["no", "bf16"], default="no", help="of the passes through the model"
    )
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    device = torch.device(given.device)

    opened: dict[str | None, RelevanceDataset] = {}

    def dataset_of(head: str | None) -> RelevanceDataset:
        if head not in opened:
            opened[head] = RelevanceDataset(given.shards, head=head)
        return opened[head]

    manifest = dataset_of(None).manifest
    torch.manual_seed(0)
    network = load_classifier(given.model, label_names(manifest), manifest).train().to(device)
    optimizer = build_optimizer(network, TrainConfig(lr=1e-6))
    for group in optimizer.param_groups:
        group["lr"] = 1e-6
    wanted = list(VARIANTS) if given.variants is None else ["none", *given.variants.split(";")]
    half = given.precision == "bf16"
    variants = {name: Variant(network, dataset_of, VARIANTS[name], device, half=half) for name in wanted}

    times: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(given.steps + 3):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            taken = variants[name].step(optimizer)
            if number >= 3:  # the first steps pay for allocations
                times[name].append(taken)

    def median(name: str, part: str) -> float:
        return statistics.median(each[part] for each in times[name])

    plain = [each["step"] for each in times["none"]]
    parts = ("step", "loading", "extra pass", "mixing")
    lines = [f"| method | step over none | {' | '.join(parts)} |", "|---|---|---|---|---|---|"]
    results = []
    for name in names:
        ratio = statistics.median(each["step"] / base for each, base in zip(times[name], plain, strict=True))
        cells = " | ".join(f"{1e3 * median(name, part):.1f} ms" for part in parts)
        lines.append(f"| {name} | {ratio:.3f} | {cells} |")
        results.append(
            {
                "measure": f"step of {name} over none",
                "value": ratio,
                "target": TARGETS.get(name),
                "bound": "<=",
            }
        )
        results.append(
            {"measure": f"steps per second, {name}", "value": 1 / median(name, "step"), "target": None}
        )
        results.append(
            {"measure": f"mixing alone, {name}, ms", "value": 1e3 * median(name, "mixing"), "target": None}
        )
    finish(lines, results, given.out)


if __name__ == "__main__":
    main()
