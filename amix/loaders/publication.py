"""The end of a precompute run: what makes a folder of shards a cache."""

from pathlib import Path
from typing import Any

from amix.engine import canonical
from amix.engine.artifact import Extractor
from amix.engine.publish import sha256_file, write_atomic
from amix.loaders.manifest import FORMAT, MANIFEST, VERSION


def publish_manifest(
    out: Path, records: list[dict[str, Any]], plan: dict[str, Any], artifact: Extractor
) -> None:
    """Write tokenizer, card and rejects, and the manifest as the last of all. Bytes follow from the arguments."""
    tokenizer = (artifact.folder / "tokenizer.json").read_bytes()
    rejects = [(row, reason) for record in records for row, reason in record["rejects"]]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "samples": sum(record["samples"] for record in records),
        "tokens": sum(record["tokens"] for record in records),
        "bytes": sum(record["files"]["tar"]["bytes"] for record in records),
        "rejects": len(rejects),
        "truncated": sum(record["truncated"] for record in records),
        "relevance": artifact.relevance,
        "heads": plan["heads"],
        "layout": plan["layout"],
        "max_length": plan["max_length"],
        "label_names": plan["labels"],
        "tokenizer": {
            "sha256": artifact.files["tokenizer.json"],
            "fingerprint": artifact.tokenizer_fingerprint,
            "special_ids": list(artifact.special_ids),
            "pad_id": artifact.pad_id,
            "vocab_size": artifact.vocab_size,
        },
        "plan": plan,
        "shards": [_entry(out, record) for record in records],
    }
    write_atomic(out / "tokenizer.json", tokenizer)
    write_atomic(out / "README.md", _card(manifest).encode())
    if rejects:
        lines = (canonical.dumps({"row": row, "reason": reason}) for row, reason in rejects)
        write_atomic(out / "rejects.jsonl", b"".join(line + b"\n" for line in lines))
    write_atomic(out / MANIFEST, canonical.seal(manifest))


def _entry(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    name = record["files"]["tar"]["name"].removesuffix(".tar")
    return {
        "name": name,
        "rows": record["rows"],
        "samples": record["samples"],
        "tokens": record["tokens"],
        "bytes": record["files"]["tar"]["bytes"],
        "record_sha256": sha256_file(out / f"{name}.json"),
    }


CODE = " Relevance is stored in a square-root code: scale.npy * (relevance.npy / 255)^2, one scale per head."


def _card(manifest: dict[str, Any]) -> str:
    names = manifest["label_names"]
    received = manifest["relevance"] == "received"
    queries = "summed over" if received else "from the first token, times the number of"
    code = CODE if manifest["layout"]["dtype"] == "uint8" else ""
    members = [
        "input_ids.npy",
        f"relevance.npy ({len(manifest['heads'])} heads x tokens, {manifest['layout']['dtype']})",
    ]
    members += [] if names is None else ["its label"]
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: shard-*.tar
tags:
- attentionmix
- webdataset
---

# Token ids with attention relevance

Written by [amix](https://pypi.org/project/attentionmix/): {manifest["samples"]} texts with
{manifest["tokens"]} tokens, in plain WebDataset tars. Per text: {", ".join(members)}.{code}
Relevance is the attention that a token receives in one head of a frozen encoder (`{manifest["relevance"]}`),
{queries} the text's tokens; rows of `relevance.npy` stand in the order of `heads` in `manifest.json`.

Labels: {"none" if names is None else ", ".join(f"{number} = {name}" for number, name in enumerate(names))}.

    from amix import RelevanceDataset                    # random access, checksums verified
    dataset = RelevanceDataset("this/folder", head="0.mean")

    from datasets import load_dataset                    # without amix
    dataset = load_dataset("this/folder")
"""
