"""A text of a cache as a person looks at it: its tokens, the attention that each receives, and its mix with another.

Axes: H heads, T tokens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.heads import HeadSpec
from amix.engine.extractor.tokenizer import open_tokenizer
from amix.engine.mixing.attentionmix import AttentionMix, content_relevance
from amix.study.attention.tokens import readable, token_texts
from amix.study.shards import open_every_head

# Times the mean word: the relevance of the full shade. It does not follow the largest value, so that a text whose words
# receive about equally much looks so.
FULL = 3.0


@dataclass(frozen=True, kw_only=True)
class InspectedText:
    """One text with the relevance of all cached heads.

    number: of the sample in the cache.  row: of the corpus.
    label: a class name, the weights of a multi-label text by class, or None.
    tokens: as the tokenizer writes them, with marks like `##`.  content: (T,) bool.  relevance_HT: float32.
    """

    number: int
    row: int
    label: str | dict[str, float] | None
    tokens: tuple[str, ...]
    content: NDArray[np.bool_]
    relevance_HT: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class InspectedMix:
    """Two texts mixed as in training. Arrays are (T,) float32, as long as the longer text.

    own, other: relevance after rule 3, 0 outside content.  ratio: weight of the first text's token.
    label_weight: of the first text's label.
    """

    own: NDArray[np.float32]
    other: NDArray[np.float32]
    ratio: NDArray[np.float32]
    label_weight: float


@dataclass(frozen=True, kw_only=True)
class ShownToken:
    """A token as it is shown to people.

    word: its text.  is_glued: it continues the word before it.
    share: of the full shade, in [0, 1], which stands for `FULL` times the mean of the text's content, and more; None
    for a token that is not content.
    """

    word: str
    is_glued: bool
    share: float | None


def shown_tokens(text: InspectedText, relevance_T: NDArray[np.float32]) -> list[ShownToken]:
    """Return the tokens of a text with the share of each, under one relevance vector."""
    full = FULL * float(relevance_T[text.content].mean()) if text.content.any() else 0.0
    shown = []
    for token, value, is_content in zip(text.tokens, relevance_T, text.content, strict=True):
        word, is_glued = readable(token)
        share = min(1.0, float(value) / full) if full else 0.0
        shown.append(ShownToken(word=word, is_glued=is_glued, share=share if is_content else None))
    return shown


class Inspector:
    """Looks into the shards of `folder`, a path or a URL. Raises ShardError for damage."""

    def __init__(self, folder: str | Path) -> None:
        self.dataset = open_every_head(folder)
        self.manifest = self.dataset.manifest
        self._tokenizer = open_tokenizer(self.dataset.folder / "tokenizer.json")

    def default_head(self) -> str:
        """Return `0.mean` where layer 0 is cached, else `mean`."""
        return "0.mean" if any(layer == 0 for layer, _ in self.manifest.heads) else "mean"

    def first_row(self) -> int:
        """Return the first corpus row that has a sample."""
        rows = self.dataset.rows()
        if not len(rows):
            raise ShardError(
                f"{self.dataset.folder}: holds no samples. Every row was rejected; see its rejects.jsonl."
            )
        return int(rows[0])

    def text(self, row: int, option: str = "--row") -> InspectedText:
        """Return the text of a corpus row.

        option: what named the row. Raises UsageError naming the range, or why the row has no sample.
        """
        rows = self.dataset.rows()
        position = int(np.searchsorted(rows, row))
        if position == len(rows) or rows[position] != row:
            raise UsageError(f"{option} {row}: {self._absence(row, rows)}")
        sample = self.dataset[position]
        return InspectedText(
            number=position,
            row=row,
            label=self._label(sample.get("labels")),
            tokens=token_texts(self._tokenizer, sample["input_ids"].tolist()),
            content=sample["content"],
            relevance_HT=np.atleast_2d(sample["relevance"]),
        )

    def partner_rows(self, row: int) -> list[int]:
        """Return rows to mix with, the best example first: near in length, most of another class, and the extremes.

        They are the nearest of another class, the nearest of the same, the shortest and the longest text. Of several
        that are equally near, the first. A row alone in its cache is its own partner.
        """
        rows, lengths, classes = self.dataset.rows(), self.dataset.lengths(), self.dataset.class_ids()
        position = int(np.searchsorted(rows, row))
        nearest = np.argsort(np.abs(lengths.astype(np.int64) - lengths[position]), kind="stable")
        nearest = nearest[nearest != position]
        is_same = classes[nearest] == classes[position]
        by_length = nearest[np.argsort(lengths[nearest], kind="stable")]
        picked = [*nearest[~is_same][:4], *nearest[is_same][:3], *by_length[:1], *by_length[-1:]]
        return list(dict.fromkeys(int(rows[each]) for each in picked)) or [row]

    def relevance(self, text: InspectedText, head: str) -> NDArray[np.float32]:
        """Return the raw relevance of a head spec, (T,) float32. Raises HeadError for a head that is not cached."""
        mean_T: NDArray[np.float32] = text.relevance_HT[self._picked(head)].mean(axis=0)
        return mean_T

    def mix(self, text: InspectedText, other: InspectedText, head: str, mixer: AttentionMix) -> InspectedMix:
        """Return the mix of two texts by the mixer that training uses."""
        import torch

        from amix.loaders.stream.collate import as_tensors

        # Padded as the loader does it. Any: tensors by name, of which all that is read here is present.
        batch: Any = as_tensors(self.dataset.batch([text.number, other.number]))
        mask, content = batch["attention_mask"], batch["content"]
        relevance = (
            batch["relevance"].reshape(2, len(self.manifest.heads), -1)[:, self._picked(head)].mean(dim=1)
        )
        plan = mixer.plan(mask, relevance=relevance, content=content, partner=torch.tensor([1, 0]))
        is_drop = mixer.special == "drop"
        shown = content_relevance(relevance, content if is_drop else mask.bool(), rescale=is_drop)
        return InspectedMix(
            own=shown[0].numpy(),
            other=shown[1].numpy(),
            ratio=plan.ratio[0].numpy(),
            label_weight=float(plan.label_weight[0]),
        )

    def soft_label(self, text: InspectedText, other: InspectedText, weight: float) -> dict[str, float]:
        """Return the mixed label: the weight of every class that either text has."""
        mixed: dict[str, float] = {}
        for each, share in ((text, weight), (other, 1.0 - weight)):
            weights = {each.label: 1.0} if isinstance(each.label, str) else each.label or {}
            for name, value in weights.items():
                mixed[name] = mixed.get(name, 0.0) + share * value
        return {name: value for name, value in mixed.items() if value}

    def _picked(self, head: str) -> list[int]:
        return HeadSpec.parse(head).indices(self.manifest.heads, str(self.dataset.folder))

    def _label(self, labels: object) -> str | dict[str, float] | None:
        names = self.manifest.label_names
        if labels is None or names is None:
            return None
        if isinstance(labels, np.ndarray):
            return {name: float(weight) for name, weight in zip(names, labels, strict=True) if weight}
        return names[int(str(labels))]

    def _absence(self, row: int, rows: NDArray[np.int64]) -> str:
        folder = self.dataset.folder
        if not len(rows):
            return f"{folder} holds no samples. Every row was rejected; see its rejects.jsonl."
        reason = next((why for number, why in self.manifest.rejects() if number == row), None)
        if reason is not None:
            return f"this row was rejected when {folder} was made ({reason.rstrip('.')}). Name another row."
        return f"{folder} holds the rows {rows[0]} to {rows[-1]} of its corpus. Name one of them."
