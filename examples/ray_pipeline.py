#!/usr/bin/env python
"""Relevance as a step of a Ray Data pipeline that ends in shards, for those who have such a pipeline already.

python examples/ray_pipeline.py [--model ENCODER] [--out FOLDER] [--address RAY]
"""

import argparse
import logging
import tempfile
from importlib import resources
from pathlib import Path

try:
    import ray
except ImportError:
    raise SystemExit("This example needs Ray. Install it with: pip install 'attentionmix[ray]'") from None

from amix import RelevanceDataset
from amix.cli.demo import packaged_encoder
from amix.exporters.export import export
from amix.exporters.options import ExportOptions
from amix.loaders.precompute.ray_data import Relevance, write_shards


def main() -> None:
    """Read the packaged sentences with Ray Data, strip them, compute relevance in two actors, write shards."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="Hub id or folder of an encoder (default: the packaged MiniLM)")
    parser.add_argument("--out", type=Path, help="where the shards are to stay (default: nowhere)")
    parser.add_argument("--address", help="of a Ray cluster (default: one of its own, on this machine)")
    options = parser.parse_args()
    ray.init(options.address or "local", num_cpus=None if options.address else 2, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    with tempfile.TemporaryDirectory() as scratch:
        extractor, out = Path(scratch) / "extractor", options.out or Path(scratch) / "shards"
        export(options.model or packaged_encoder(), extractor, ExportOptions(layers=[0]))

        sentences = ray.data.read_json(
            str(resources.files("amix.cli") / "demo_data" / "train.jsonl"), lines=True
        )
        # Whatever your pipeline does.
        cleaned = sentences.map(lambda row: {**row, "text": row["text"].strip()})
        found = cleaned.map_batches(
            Relevance,
            fn_constructor_kwargs={"extractor": str(extractor)},
            compute=ray.data.ActorPoolStrategy(
                size=2
            ),  # one session each; num_cpus and threads for larger ones
            num_cpus=0.5,
            batch_size=64,
        )
        manifest = write_shards(
            found,
            out,
            extractor=extractor,
            source={"name": "the packaged sentences, stripped"},
            label_names=("negative", "positive"),
            samples_per_shard=64,
        )
        print(f"{manifest.samples} sentences in {len(manifest.shards)} shards")  # noqa: T201  a program of its own
        sample = RelevanceDataset(out, head="0.mean")[0]
        print(f"the first has {len(sample['input_ids'])} tokens, class {sample['labels']}")  # noqa: T201  the same


if __name__ == "__main__":
    main()
