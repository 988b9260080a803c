"""The recipe of a cache: everything that decides its bytes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from amix.engine.base import canonical
from amix.engine.base.heads import Head
from amix.loaders.shards.layout import Layout

FORMAT = "amix-shards"
VERSION = 2  # of the format; part of every recipe

# In the identity of a corpus: what does not change which texts it is about.
_NOT_TEXTS = frozenset({"pair_column", "label_column", "label_names", "limit"})


@dataclass(frozen=True)
class Recipe:
    """What decides the bytes of a cache. The manifest and every record hold it under the key `plan`.

    document: JSON. Other versions and commands write other keys, so a recipe that was read is only compared as a
        whole. `heads`, `layout`, `max_length` and `label_names` are for recipes that `of` made.
    """

    document: Mapping[str, Any]  # Any: JSON

    @classmethod
    def of(
        cls,
        *,
        heads: Sequence[Head],
        layout: Layout,
        max_length: int,
        label_names: Sequence[str] | None,
        samples_per_shard: int,
        extractor: object,
        soft_labels: bool = False,
        **source: object,
    ) -> Self:
        """Return the recipe of a run.

        extractor: JSON about the extractor.  source: JSON about what is read; one key for each argument.
        soft_labels: see the property. The key is there only where it is true.
        """
        return cls(
            {
                "format": VERSION,
                "heads": [list(head) for head in heads],
                "layout": asdict(layout),
                "max_length": max_length,
                "labels": None if label_names is None else list(label_names),
                "samples_per_shard": samples_per_shard,
                "extractor": extractor,
                **source,
                **({"soft_labels": True} if soft_labels else {}),
            }
        )

    @property
    def heads(self) -> tuple[Head, ...]:
        """(layer, head) of each stored relevance row."""
        return tuple((layer, head) for layer, head in self.document["heads"])

    @property
    def layout(self) -> Layout:
        """What every sample consists of."""
        return Layout(**self.document["layout"])

    @property
    def max_length(self) -> int:
        """The most tokens that a sample can have."""
        return int(self.document["max_length"])

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """Names of the classes by id; None without labels."""
        names = self.document["labels"]
        return None if names is None else tuple(names)

    @property
    def soft_labels(self) -> bool:
        """Whether the class weights of a text are probabilities of one class, and not yes or no for each."""
        return self.document.get("soft_labels") is True

    @property
    def extractor(self) -> object:
        """JSON about the extractor; None where the recipe does not say."""
        return self.document.get("extractor")

    @property
    def extractor_fingerprint(self) -> str | None:
        """Which extractor computed the relevance; None where the recipe does not say."""
        extractor = self.extractor
        fingerprint = extractor.get("fingerprint") if isinstance(extractor, dict) else None
        return fingerprint if isinstance(fingerprint, str) else None

    @property
    def sources(self) -> frozenset[str]:
        """What the texts were read from, as hashes: files, data sets or other caches; empty where it does not say."""
        corpus, repacked = self.document.get("corpus"), self.document.get("repacked")
        if isinstance(corpus, Mapping):
            return sources_of(corpus)
        caches = repacked if isinstance(repacked, list) else [self.document.get("relabelled")]
        return frozenset(str(each) for each in caches if each is not None)

    def without_environment(self) -> dict[str, Any]:  # Any: JSON
        """Return the document without what it says about the machine and the library versions."""
        return {key: value for key, value in self.document.items() if key != "environment"}

    def differences(self, now: "Recipe") -> Iterator[tuple[str, str, str]]:
        """Yield name, value here and value in `now` of everything that differs, values cut short."""
        return _differences("", self.document, now.document)


def sources_of(corpus: Mapping[str, Any]) -> frozenset[str]:  # JSON
    """Return what the texts of a corpus are read from, as hashes.  corpus: its identity."""
    text = corpus.get("text_column")
    files = _documents(corpus.get("files"))
    if files is None:
        read: list[object] = [{key: value for key, value in corpus.items() if key not in _NOT_TEXTS}]
    else:
        read = [file.get("sha256") for file in files]
    return frozenset(canonical.digest([each, text]) for each in read)


def _differences(name: str, before: object, now: object) -> Iterator[tuple[str, str, str]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(f"{name}.{key}".lstrip("."), before.get(key), now.get(key))
        return
    ones, others = _documents(before), _documents(now)
    if ones is not None and others is not None and len(ones) == len(others):
        for number, (one, other) in enumerate(zip(ones, others, strict=True)):
            yield from _differences(f"{name}.{number}", one, other)
    elif before != now:
        yield name, _short(before), _short(now)


def _documents(value: object) -> list[Mapping[str, object]] | None:
    """Return a list of documents, such as the files of a corpus, or None for anything else."""
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return value
    return None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
