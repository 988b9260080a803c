"""The end of a run that writes shards: what makes a folder of them a cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from amix.engine.base import canonical
from amix.engine.base.errors import ShardError
from amix.engine.base.publish import sha256_bytes, sha256_file, write_atomic
from amix.loaders.shards.card import card
from amix.loaders.shards.manifest import FORMAT, MANIFEST, VERSION, Manifest


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where ids and relevance came from: the kind of relevance, and the tokenizer that consumers must agree with."""

    relevance: str
    tokenizer: bytes  # tokenizer.json
    fingerprint: str
    special_ids: tuple[int, ...]
    pad_id: int
    vocab_size: int

    @classmethod
    def cache(cls, manifest: Manifest) -> Self:
        """Return the origin of what a cache holds. Raises ShardError when its tokenizer is damaged."""
        path = manifest.folder / "tokenizer.json"
        tokenizer = path.read_bytes() if path.is_file() else b""
        if sha256_bytes(tokenizer) != manifest.fields["tokenizer"]["sha256"]:
            raise ShardError(f"{path}: is missing or damaged. Build the folder again.")
        return cls(
            relevance=manifest.relevance,
            tokenizer=tokenizer,
            fingerprint=manifest.tokenizer_fingerprint,
            special_ids=manifest.special_ids,
            pad_id=manifest.pad_id,
            vocab_size=manifest.vocab_size,
        )


def publish_manifest(
    out: Path, records: list[dict[str, Any]], plan: Mapping[str, Any], origin: Origin, truncated: int
) -> None:
    """Write tokenizer, card and rejects, and the manifest as the last of all. Bytes follow from the arguments.

    plan: also says the heads, layout, max_length and labels of the cache.
    truncated: texts that were cut at max_length.
    """
    rejects = [(row, reason) for record in records for row, reason in record["rejects"]]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "samples": sum(record["samples"] for record in records),
        "tokens": sum(record["tokens"] for record in records),
        "bytes": sum(record["files"]["tar"]["bytes"] for record in records),
        "rejects": len(rejects),
        "truncated": truncated,
        "relevance": origin.relevance,
        "heads": plan["heads"],
        "layout": plan["layout"],
        "max_length": plan["max_length"],
        "label_names": plan["labels"],
        "tokenizer": {
            "sha256": sha256_bytes(origin.tokenizer),
            "fingerprint": origin.fingerprint,
            "special_ids": list(origin.special_ids),
            "pad_id": origin.pad_id,
            "vocab_size": origin.vocab_size,
        },
        "plan": plan,
        "shards": [_entry(out, record) for record in records],
    }
    write_atomic(out / "tokenizer.json", origin.tokenizer)
    write_atomic(out / "README.md", card(manifest).encode())
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
