"""The documents of a shard folder: the record of each shard, and the manifest that lists them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from amix.engine.base import canonical
from amix.engine.base.errors import ShardError
from amix.engine.base.heads import Head
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.schema import FILE_KINDS, check_manifest, check_record

FORMAT = "amix-shards"
VERSION = 2
MANIFEST = "manifest.json"


def read_document(path: Path) -> tuple[dict[str, Any], str]:
    """Return a sealed JSON document and the sha256 of its file. Raises ShardError naming the file."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise ShardError(
            f"{path}: cannot be read ({problem.strerror}). Run the same 'amix precompute' again."
        ) from None
    return canonical.unseal(data, str(path), error=ShardError), sha256_bytes(data)


def file_size(path: Path) -> int:
    """Return the size of a regular file, or -1 where there is none (a link is none)."""
    return path.stat().st_size if path.is_file() and not path.is_symlink() else -1


def check_files(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise ShardError unless tar, index and checksums of a record are there with their sizes."""
    for kind in FILE_KINDS:
        entry = record["files"][kind]
        path = folder / entry["name"]
        size = file_size(path)
        if size < 0:
            raise ShardError(f"{path}: is missing (or is a link). Run the same 'amix precompute' again.")
        if size != entry["bytes"]:
            raise ShardError(
                f"{path}: has {size} bytes, the record says {entry['bytes']}. The file is damaged; "
                "remove it and run the same 'amix precompute' again."
            )


@dataclass(frozen=True)
class Manifest:
    """What a shard folder holds, read from `manifest.json`. Every field of the file is in `fields`."""

    folder: Path
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check the manifest of `folder`; neither records nor shards are opened.

        Raises ShardError when it is missing, damaged, or of another format.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            raise ShardError(
                f"{folder}: there is no such folder. Name a folder that 'amix precompute' wrote."
            )
        if not path.is_file():
            unfinished = next(folder.glob("shard-*.json"), None)
            raise ShardError(
                f"{folder}: holds no {MANIFEST}. "
                + (
                    "Its precompute run was not finished; run the same command again."
                    if unfinished
                    else "Name a folder that 'amix precompute' wrote."
                )
            )
        fields, _ = read_document(path)
        if fields.get("format") != FORMAT or fields.get("version") != VERSION:
            raise ShardError(
                f"{path}: is {fields.get('format')} version {fields.get('version')}; this amix reads {FORMAT} "
                f"version {VERSION}. Build the folder again with 'amix precompute --restart'."
            )
        check_manifest(fields, str(path))
        return cls(folder, fields)

    @property
    def sha256(self) -> str:
        """What identifies the cache."""
        return str(self.fields["sha256"])

    @property
    def origin(self) -> str:
        """What the cache was made of: sha256 over corpus, extractor and options, and how much came of it.

        The same where another machine made it, whose relevance may differ in the last bits; `sha256` is not.
        """
        plan = {key: each for key, each in self.fields["plan"].items() if key != "environment"}
        # Another version of the tokenizer library is no other corpus, unless it cuts texts into other tokens.
        counts = {key: self.fields[key] for key in ("samples", "tokens", "label_names")}
        return canonical.digest({"plan": plan, **counts})

    @property
    def samples(self) -> int:
        """Number of samples in all shards."""
        return int(self.fields["samples"])

    @property
    def tokens(self) -> int:
        """Number of tokens in all shards, special tokens included."""
        return int(self.fields["tokens"])

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """(layer, head) of each stored relevance row."""
        return tuple((layer, head) for layer, head in self.fields["heads"])

    @property
    def relevance(self) -> Literal["received", "cls"]:
        """The kind of relevance that is stored (rule 1 of docs/architecture.md, section 2)."""
        return "cls" if self.fields["relevance"] == "cls" else "received"

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """Names of the classes by id; None where the cache holds no labels."""
        names = self.fields["label_names"]
        return None if names is None else tuple(names)

    @property
    def multi_label(self) -> bool:
        """Whether labels are class weights (`labels.npy`) in place of class ids."""
        return self.layout.classes > 0

    @property
    def tokenizer_fingerprint(self) -> str:
        """What the classifier's tokenizer must agree with."""
        return str(self.fields["tokenizer"]["fingerprint"])

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Token ids that are never content."""
        return tuple(self.fields["tokenizer"]["special_ids"])

    @property
    def pad_id(self) -> int:
        """Token id to pad batches with."""
        return int(self.fields["tokenizer"]["pad_id"])

    @property
    def vocab_size(self) -> int:
        """Ids are below this."""
        return int(self.fields["tokenizer"]["vocab_size"])

    @property
    def max_length(self) -> int:
        """Longest a sample can be, in tokens."""
        return int(self.fields["max_length"])

    @cached_property
    def layout(self) -> Layout:
        """What every sample consists of."""
        return Layout(**self.fields["layout"])

    @property
    def shards(self) -> list[dict[str, Any]]:
        """Per shard: name, rows [first, end), samples, tokens, bytes, sha256 of its record's file."""
        return list(self.fields["shards"])

    def record(self, position: int) -> dict[str, Any]:
        """Return the record of a shard. Raises ShardError when it is not the one that the manifest vouches for."""
        entry = self.fields["shards"][position]
        name = str(entry["name"])
        path = self.folder / f"{name}.json"
        if path.is_symlink():
            raise ShardError(
                f"{path}: is a link. It was not written by 'amix precompute'; do not use this folder."
            )
        record, sha256 = read_document(path)
        if sha256 != entry["record_sha256"]:
            raise ShardError(f"{path}: is the record of another run than {MANIFEST}. Build the folder again.")
        check_record(record, entry, str(path))
        return record

    def rejects(self) -> Iterator[tuple[int, str]]:
        """Yield the row and the reason of every corpus row that has no sample, from the records."""
        for position in range(len(self.shards)):
            yield from ((row, reason) for row, reason in self.record(position)["rejects"])

    def require_listed(self) -> None:
        """Raise ShardError when the folder holds a tar that the manifest does not list: it is of another run."""
        listed = {f"{entry['name']}.tar" for entry in self.fields["shards"]}
        for path in sorted(self.folder.glob("shard-*.tar")):
            if path.name not in listed:
                raise ShardError(
                    f"{path}: is not listed in {MANIFEST}; it comes from another run. Remove it."
                )
