"""One training loop at work: that of amix, or the Hugging Face Trainer, in a process of its own.

    python bench/peers/training.py KIND SHARDS --model MODEL [--texts N] [--batch-size B]

KIND: `none` and `attentionmix` are `amix train` with these methods, `none grouped` is the first with batches of
similar length (`bucket_batches`); `trainer` and `trainer grouped` are the Trainer on the same token ids, without and
with its `group_by_length`. Two epochs are trained, and the second one is timed: reading, collating, all steps.
Precision is float32, the optimizer AdamW in one kernel, and attention PyTorch's own, everywhere.
Prints one JSON object: seconds of the epoch, and tokens of its texts, padding not counted.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.options.config import TrainConfig
from amix.train.options.methods import Method
from amix.train.run.data.subset import draw_subset
from amix.train.run.train import train

EPOCHS = 2
KINDS = ("none", "none grouped", "attentionmix", "trainer", "trainer grouped")
MOST_SORTED = 50  # batches; a quarter of an epoch at most. What the Trainer takes


class Stopwatch(TrainerCallback):
    """Times every epoch of a Trainer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:  # noqa: ANN401  of Trainer
        """Start the clock."""
        self._began = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:  # noqa: ANN401  of Trainer
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._began)


def of_amix(method: Method, given: argparse.Namespace, out: Path, *, grouped: bool) -> dict[str, float]:
    """Train with amix; the texts are drawn as `--samples` draws them."""
    seconds: list[float] = []
    config = TrainConfig(
        method=method,
        epochs=EPOCHS,
        batch_size=given.batch_size,
        p=0.5,
        samples=given.texts,
        bucket_batches=min(given.texts // given.batch_size // 4, MOST_SORTED) if grouped else 0,
        lr=given.lr,
        device="cpu",
    )
    result = train(
        given.shards, out, given.model, config, on_epoch=lambda epoch: seconds.append(epoch.seconds)
    )
    return {"seconds": seconds[-1], "tokens": result.tokens / EPOCHS}


def of_trainer(strategy: str, given: argparse.Namespace, out: Path) -> dict[str, float]:
    """Train with the Hugging Face Trainer."""
    rows, classes = drawn(given)
    network = AutoModelForSequenceClassification.from_pretrained(
        given.model, num_labels=classes, trust_remote_code=False
    )
    collator = DataCollatorWithPadding(AutoTokenizer.from_pretrained(given.model, trust_remote_code=False))
    stopwatch = Stopwatch()
    trainer = Trainer(
        network,
        TrainingArguments(
            str(out),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=given.batch_size,
            learning_rate=given.lr,
            train_sampling_strategy=strategy,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
        ),
        train_dataset=rows,
        data_collator=collator,
        callbacks=[stopwatch],
    )
    trainer.remove_callback(PrinterCallback)  # it prints what looks like an answer
    trainer.train()
    return {"seconds": stopwatch.seconds[-1], "tokens": float(sum(rows["length"]))}


def drawn(given: argparse.Namespace) -> tuple[Any, int]:
    """Return a data set of the Hugging Face kind of the texts that amix draws, and the number of classes."""
    import datasets

    shards = RelevanceDataset(given.shards, head=None)
    numbers = draw_subset(len(shards), given.texts, TrainConfig().subset_seed, shards.folder)
    samples = [shards[number] for number in (range(len(shards)) if numbers is None else numbers.tolist())]
    ids = [sample["input_ids"].tolist() for sample in samples]
    columns = {
        "input_ids": ids,
        "attention_mask": [[1] * len(each) for each in ids],
        "labels": [sample["labels"] for sample in samples],
        "length": [len(each) for each in ids],
    }
    return datasets.Dataset.from_dict(columns), shards.num_classes


def main() -> None:
    """Train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("shards")
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-5)
    given = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        name, _, grouped = given.kind.partition(" ")
        if name == "trainer":
            found = of_trainer("group_by_length" if grouped else "random", given, out)
        else:
            found = of_amix(name, given, out, grouped=bool(grouped))
    print(json.dumps(found))  # noqa: T201  its answer


if __name__ == "__main__":
    main()
