"""The data set card of a cache, `README.md`: what somebody who finds the folder should know."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from amix.engine.base.heads import describe
from amix.engine.base.installing import DISTRIBUTION
from amix.engine.base.words import counted
from amix.loaders.shards.layout import INDEX_DTYPE, INDEX_HEADER_BYTES
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.records import ShardRecord

CODE = " Relevance is stored in a square-root code: scale.npy * (relevance.npy / 255)^2, one scale per head."
_AT_ONCE = 16  # indexes, which may come from far away
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def longest_text(read: Callable[[str], bytes], records: Iterable[ShardRecord]) -> int:
    """Return the number of tokens of the longest text in shards, from their indexes.

    read: returns the bytes of a file of theirs; called by several threads.
    """

    def longest(record: ShardRecord) -> int:
        # Not np.load: threads of Python 3.11 disturb each other in parsing a header.
        index = np.frombuffer(read(record.index.name), INDEX_DTYPE, offset=INDEX_HEADER_BYTES)
        return int(index["tokens"].max(initial=0))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return max(pool.map(longest, records), default=0)


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
