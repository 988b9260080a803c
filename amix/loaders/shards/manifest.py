"""The manifest of a cache: what the folder holds, and which record each of its shards must have."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, get_args

from amix.engine.base import canonical
from amix.engine.base.errors import ShardError
from amix.engine.base.heads import Head
from amix.engine.base.kinds import NAMES, kind_of
from amix.loaders.shards.choices import RelevanceDtype, RelevanceKind
from amix.loaders.shards.entries import ShardEntries, ShardEntry
from amix.loaders.shards.fields import Fields, pair, text
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.manifestjson import unsealed
from amix.loaders.shards.recipe import FORMAT, VERSION, Recipe
from amix.loaders.shards.records import Reject, ShardRecord, read_bytes
from amix.loaders.shards.tokenizer import TokenizerInfo

MANIFEST = "manifest.json"
CARD = "README.md"
REJECTS = "rejects.jsonl"
_MOST_TOKENS = 1 << 20  # of a text


class CorpusFile(NamedTuple):
    """A file that texts came from. row_count: rows taken from it, rejected ones too."""

    name: str
    row_count: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a cache holds.

    folder: where it is; not stored.  sha256: what identifies the cache.
    samples, tokens, tar_bytes: of all shards; special tokens are counted.  reject_count: rows without a sample.
    truncated: texts that were cut at `max_length`, the most tokens that a sample can have.
    heads: (layer, head) of each stored relevance row.  layout: what every sample consists of.
    label_names: names of the classes by id; None where the cache holds no labels.
    files: that the corpus was read from; empty where it was read from elsewhere, or by an older version. They are not
        in the recipe, since other names would make no other cache.
    """

    folder: Path
    sha256: str = ""
    samples: int
    tokens: int
    tar_bytes: int
    reject_count: int
    truncated: int
    relevance: RelevanceKind
    heads: tuple[Head, ...]
    layout: Layout
    max_length: int
    label_names: tuple[str, ...] | None
    tokenizer: TokenizerInfo
    recipe: Recipe
    shards: ShardEntries
    files: tuple[CorpusFile, ...] = ()

    def __post_init__(self) -> None:
        if not self.sha256:  # it was not read from a file
            object.__setattr__(self, "sha256", canonical.digest(self._document()))

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
            kind = kind_of(folder)
            if kind == "unfinished cache":
                remedy = "Its precompute run was not finished; run the same command again."
            else:
                found = "" if kind is None else f"It is {NAMES[kind]}. "
                remedy = f"{found}Name a folder that 'amix precompute' wrote."
            raise ShardError(f"{folder}: holds no {MANIFEST}. {remedy}")
        return cls.parse(read_bytes(path), str(path), folder)

    @classmethod
    def parse(cls, data: bytes, where: str, folder: Path) -> Self:
        """Return the manifest in `data`, of the cache in `folder`. Raises ShardError naming `where` and the field."""
        document, columns = unsealed(data) or (canonical.unseal(data, where, error=ShardError), None)
        fields = Fields(document, where)
        if (fields.get("format"), fields.get("version")) != (FORMAT, VERSION):
            raise ShardError(
                f"{where}: is {fields.get('format')} version {fields.get('version')}; this amix reads {FORMAT} "
                f"version {VERSION}. Build the folder again with 'amix precompute --restart'."
            )
        heads = fields.items("heads", pair)
        label_names = None if fields.is_null("label_names") else fields.items("label_names", text)
        return cls(
            folder=folder,
            sha256=fields.sha256("sha256"),
            samples=fields.count("samples"),
            tokens=fields.count("tokens"),
            tar_bytes=fields.count("bytes"),
            reject_count=fields.count("rejects"),
            truncated=fields.count("truncated"),
            relevance=fields.choice("relevance", get_args(RelevanceKind)),
            heads=heads,
            layout=_layout(fields, len(heads), len(label_names or ())),
            max_length=fields.count("max_length", _MOST_TOKENS),
            label_names=label_names,
            tokenizer=TokenizerInfo.read(fields.inner("tokenizer")),
            recipe=Recipe(fields.mapping("plan")),
            shards=ShardEntries.of(map(ShardEntry.read, fields.each("shards", "shard")))
            if columns is None
            else ShardEntries(columns),
            files=tuple(
                CorpusFile(file.text("name"), file.count("rows"))
                for file in (fields.each("files", "file") if "files" in fields else ())
            ),
        )

    def sealed(self) -> bytes:
        """Return the bytes of the manifest's file."""
        return canonical.seal(self._document())

    def _document(self) -> dict[str, object]:
        files = [{"name": file.name, "rows": file.row_count} for file in self.files]
        return {
            "format": FORMAT,
            "version": VERSION,
            "samples": self.samples,
            "tokens": self.tokens,
            "bytes": self.tar_bytes,
            "rejects": self.reject_count,
            "truncated": self.truncated,
            "relevance": self.relevance,
            "heads": self.heads,
            "layout": dataclasses.asdict(self.layout),
            "max_length": self.max_length,
            "label_names": self.label_names,
            "tokenizer": dataclasses.asdict(self.tokenizer),
            "plan": self.recipe.document,
            "shards": [entry.document() for entry in self.shards],
            **({"files": files} if files else {}),
        }

    @property
    def portable_sha256(self) -> str:
        """What identifies the cache wherever it was computed: corpus, extractor, options, and the resulting counts.

        On another machine, relevance may differ in its last bits and `sha256` with it; this hash is the same.
        """
        # The recipe goes in without library versions. If another tokenizer version splits texts into other tokens, the
        # number of tokens shows it.
        return canonical.digest(
            {
                "plan": self.recipe.without_environment(),
                "samples": self.samples,
                "tokens": self.tokens,
                "label_names": self.label_names,
            }
        )

    def holds_texts_of(self, other: "Manifest") -> bool:
        """Tell whether all texts of `other` are in this cache too, as far as the recipes of both say."""
        here = self.recipe.sources | {self.sha256}
        there = other.recipe.sources
        return other.sha256 in here or (bool(there) and there <= here)

    @property
    def class_weights(self) -> bool:
        """Whether labels are class weights (`labels.npy`) instead of class ids."""
        return self.layout.classes > 0

    @property
    def multi_label(self) -> bool:
        """Whether a text may belong to several classes: its weights say so of each class by itself."""
        return self.class_weights and not self.recipe.soft_labels

    @property
    def tokenizer_fingerprint(self) -> str:
        """What the classifier's tokenizer must agree with."""
        return self.tokenizer.fingerprint

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Token ids that are never content."""
        return self.tokenizer.special_ids

    @property
    def pad_id(self) -> int:
        """Token id to pad batches with."""
        return self.tokenizer.pad_id

    @property
    def vocab_size(self) -> int:
        """Ids are below this."""
        return self.tokenizer.vocab_size

    def record(self, position: int) -> ShardRecord:
        """Return the record of a shard. Raises ShardError when its hash is not the manifest's."""
        entry = self.shards[position]
        path = self.folder / f"{entry.name}.json"
        if path.is_symlink():
            raise ShardError(
                f"{path}: is a link. It was not written by 'amix precompute'; do not use this folder."
            )
        return entry.record(read_bytes(path), str(path))

    def rejects(self) -> Iterator[Reject]:
        """Yield every corpus row that has no sample, from the records."""
        for position in range(len(self.shards)):
            yield from self.record(position).rejects

    def require_listed(self) -> None:
        """Raise ShardError when the folder holds a tar of another run, which the manifest does not list."""
        listed = {f"{entry.name}.tar" for entry in self.shards}
        for path in sorted(self.folder.glob("shard-*.tar")):
            if path.name not in listed:
                raise ShardError(
                    f"{path}: is not listed in {MANIFEST}; it comes from another run. Remove it."
                )


def _layout(fields: Fields, heads: int, label_count: int) -> Layout:
    layout = fields.inner("layout")
    if layout.names() != {field.name for field in dataclasses.fields(Layout)}:
        raise fields.refused("layout")
    if layout.count("heads") != heads:
        raise layout.refused("heads")
    if layout.count("classes") not in (0, label_count):
        raise layout.refused("classes")
    return Layout(
        heads=heads,
        dtype=layout.choice("dtype", get_args(RelevanceDtype)),
        wide_ids=layout.flag("wide_ids"),
        token_types=layout.flag("token_types"),
        classes=layout.count("classes"),
        cls=layout.flag("cls"),
        text=layout.flag("text"),
    )
