"""What the examples share: 200 sentences to train on and 200 to test on, as shards; options; a table of results.

Made from the sentences and the encoder that the package and its extra `demo` bring, in a temporary folder, or opened
where `amix precompute` wrote them: `--shards FOLDER` with the folders train and test in it.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from transformers import AutoModelForSequenceClassification

from amix import RelevanceDataset
from amix.cli.demo import packaged_encoder
from amix.cli.output import table
from amix.engine.extractor.pretrained import quiet_transformers
from amix.exporters.export import export
from amix.exporters.options import ExportOptions
from amix.train.score.metrics import report


@dataclass(frozen=True)
class SampleSet:
    """What an example trains on: an encoder, the number of epochs, the shards to train and to test on."""

    model: str
    epochs: int
    train: RelevanceDataset
    test: RelevanceDataset

    def classifier(self) -> Any:  # noqa: ANN401  a transformers classifier, of whatever family
        """Return a classifier with a new head. Seed torch first."""
        with quiet_transformers():
            return AutoModelForSequenceClassification.from_pretrained(
                self.model, num_labels=self.train.num_classes, trust_remote_code=False
            )


@contextlib.contextmanager
def sample_set(description: str | None) -> Iterator[SampleSet]:
    """Yield the sample set that the command line asks for; what was built for it is removed afterwards."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--model", help="Hub id or folder of an encoder (default: the packaged MiniLM)")
    parser.add_argument("--shards", type=Path, help="folder with the caches train and test")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the training shards (default: 2)")
    options = parser.parse_args()
    model = options.model or packaged_encoder()
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards or build(model, Path(folder))
        train, test = (RelevanceDataset(shards / split, head="0.mean") for split in ("train", "test"))
        yield SampleSet(model, options.epochs, train, test)


def build(model: str, folder: Path) -> Path:
    """Export the encoder's first layer, run it over the packaged sentences, and return the folder of the shards."""
    sys.stderr.write("export, then precompute: once per encoder and corpus\n")
    export(model, folder / "extractor", ExportOptions(layers=[0]))
    for split in ("train", "test"):
        with resources.as_file(resources.files("amix.cli") / "demo_data" / f"{split}.jsonl") as corpus:
            # As a command of its own, because its workers are spawned and would import all of this program again.
            command: list[str | Path] = [sys.executable, "-m", "amix", "precompute", corpus]
            command += [folder / "shards" / split, "--extractor", folder / "extractor", "--workers", "1"]
            subprocess.run(command, check=True, stdout=sys.stderr)
    return folder / "shards"


def show(results: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> None:
    """Print accuracy, NLL and calibration error of each method's (logits, labels)."""
    metrics = ("accuracy", "nll", "ece")
    scores = {method: report(logits, labels) for method, (logits, labels) in results.items()}
    table(
        ["method", *metrics],
        [[method, *(found[name] for name in metrics)] for method, found in scores.items()],
    )
