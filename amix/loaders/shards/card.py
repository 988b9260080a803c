"""The data set card of a cache, `README.md`: what somebody who finds the folder should know."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from amix.engine.base.heads import describe
from amix.engine.base.installing import DISTRIBUTION
from amix.engine.base.words import counted
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.records import ShardRecord

CODE = " Relevance is stored in a square-root code: scale.npy * (relevance.npy / 255)^2, one scale per head."
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def longest_text(folder: Path, records: Iterable[ShardRecord]) -> int:
    """Return the number of tokens of the longest text in the shards of a folder, from their indexes."""
    longest = 0
    for record in records:
        tokens = np.load(folder / record.index.name, allow_pickle=False)["tokens"]
        longest = max(longest, int(tokens.max(initial=0)))
    return longest


def card(manifest: Manifest, longest: int, location: str = "this/folder") -> str:
    """Return the card: a YAML head, what the cache holds, and how to load it from `location`.

    longest: as `longest_text` returns it.
    """
    names, layout, heads = manifest.label_names, manifest.layout, manifest.heads
    received = manifest.relevance == "received"
    queries = "summed over" if received else "from the first token, times the number of"
    code = CODE if layout.dtype == "uint8" else ""
    members = ["input_ids.npy", f"relevance.npy ({counted(len(heads), 'head')} x tokens, {layout.dtype})"]
    members += [] if names is None else ["its label"]
    held = f"{counted(manifest.samples, 'text')} with {counted(manifest.tokens, 'token')}"
    size = next((name for limit, name in _SIZES if manifest.samples < limit), "n>1M")
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: shard-*.tar
size_categories:
- {size}
task_categories:
- text-classification
tags:
- attentionmix
- webdataset
---

# Token ids with attention relevance

Written by amix, the Python package `{DISTRIBUTION}`: {held},
in plain WebDataset tars. Per text: {", ".join(members)}.{code}
Relevance is the attention that a token receives in one head of a frozen encoder (`{manifest.relevance}`),
{queries} the text's tokens; rows of `relevance.npy` stand in the order of `heads` in `manifest.json`.

| | |
|---|---|
| heads | {describe(heads)} |
| longest text | {longest} tokens; {_cut(manifest)} |
| labels | {"none" if names is None else ", ".join(f"{number} = {_cell(name)}" for number, name in enumerate(names))} |
| extractor | `{manifest.recipe.extractor_fingerprint or "unknown"}` |
| tokenizer | `{manifest.tokenizer.fingerprint}`, in `tokenizer.json` |

    from amix import RelevanceDataset                    # random access, checksums verified
    dataset = RelevanceDataset("{location}", head="{"0.mean" if any(layer == 0 for layer, _ in heads) else "mean"}")

    from datasets import load_dataset                    # without amix
    dataset = load_dataset("{location.removeprefix("hf://datasets/")}")
"""


def _cut(manifest: Manifest) -> str:
    if not manifest.truncated:
        return f"none was cut, the limit was {manifest.max_length}"
    return f"{counted(manifest.truncated, 'text was', 'texts were')} cut there"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
