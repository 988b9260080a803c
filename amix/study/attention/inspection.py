"""A text of a cache as a person would look at it: its tokens, what each receives, and its mix with another.

Axes: H heads, T tokens.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.heads import HeadSpec
from amix.engine.extractor.tokenizer import open_tokenizer
from amix.engine.mixing.attentionmix import AttentionMix, content_relevance
from amix.loaders.stream.dataset import RelevanceDataset


@dataclass(frozen=True, kw_only=True)
class InspectedText:
    """One text with the relevance of all cached heads.

    row: of the corpus.  label: a class name, the weights of a multi-label text by class, or None.
    tokens: as the tokenizer writes them, `##` and all.  content: (T,) bool.  relevance_HT: float32.
    """

    row: int
    label: str | dict[str, float] | None
    tokens: tuple[str, ...]
    content: NDArray[np.bool_]
    relevance_HT: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class InspectedMix:
    """What training makes of two texts, (T,) of the longer one, float32.

    own, other: relevance after rule 3, 0 outside content.  ratio: weight of the first text's token.
    label_weight: of the first text's label.
    """

    own: NDArray[np.float32]
    other: NDArray[np.float32]
    ratio: NDArray[np.float32]
    label_weight: float


def readable(token: str) -> tuple[str, bool]:
    """Return a token as text, and whether it goes on the word before it (`##ing`; `Ġ` and `▁` begin a word)."""
    if token.startswith("##") and len(token) > 2:
        return token[2:], True
    if token[:1] in ("Ġ", "▁") and len(token) > 1:
        return token[1:], False
    return token, False


class Inspector:
    """Looks into the shards of `folder`, a path or a URL. Raises ShardError for damage."""

    def __init__(self, folder: str | Path) -> None:
        self._heads_only = RelevanceDataset(folder, head=None).manifest.heads
        every = "|".join(f"{layer}.{head}" for layer, head in self._heads_only)
        self.dataset = RelevanceDataset(folder, head=every)
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

    def text(self, row: int) -> InspectedText:
        """Return the text of a corpus row. Raises UsageError naming the range, or why the row has no sample."""
        rows = self.dataset.rows()
        position = int(np.searchsorted(rows, row))
        if position == len(rows) or rows[position] != row:
            raise UsageError(self._absence(row, rows))
        sample = self.dataset[position]
        relevance = np.atleast_2d(sample["relevance"])
        ids = sample["input_ids"].tolist()
        return InspectedText(
            row=row,
            label=self._label(sample.get("labels")),
            tokens=tuple(self._tokenizer.id_to_token(number) or f"[{number}]" for number in ids),
            content=sample["content"],
            relevance_HT=relevance,
        )

    def partner_row(self, row: int) -> int:
        """Return a row to mix with: of another class where there is one, nearest in length, the first of equals."""
        rows, lengths, classes = self.dataset.rows(), self.dataset.lengths(), self.dataset.class_ids()
        position = int(np.searchsorted(rows, row))
        apart = np.abs(lengths - lengths[position]).astype(np.int64)
        apart[position] = np.iinfo(np.int64).max
        others = classes != classes[position]
        if others.any():
            apart[~others] = np.iinfo(np.int64).max
        return int(rows[int(apart.argmin())])

    def relevance(self, text: InspectedText, head: str) -> NDArray[np.float32]:
        """Return the raw relevance of a head spec, (T,) float32. Raises HeadError for a head that is not cached."""
        picked = HeadSpec.parse(head).indices(self.manifest.heads, str(self.dataset.folder))
        mean_T: NDArray[np.float32] = text.relevance_HT[picked].mean(axis=0)
        return mean_T

    def mix(self, text: InspectedText, other: InspectedText, head: str, mixer: AttentionMix) -> InspectedMix:
        """Return the mix of two texts by the mixer that training uses."""
        import torch

        length = max(len(text.tokens), len(other.tokens))

        def rows(one: NDArray[np.generic], two: NDArray[np.generic]) -> torch.Tensor:
            padded = [np.pad(each, (0, length - len(each))) for each in (one, two)]
            return torch.from_numpy(np.stack(padded))

        mask = rows(np.ones(len(text.tokens), np.int64), np.ones(len(other.tokens), np.int64))
        content = rows(text.content, other.content)
        relevance = rows(self.relevance(text, head), self.relevance(other, head))
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
            return f"--row {row}: {folder} holds no samples; its rejects.jsonl says why."
        reason = next((why for number, why in self.manifest.rejects() if number == row), None)
        if reason is not None:
            return (
                f"--row {row}: was rejected when {folder} was made ({reason.rstrip('.')}). Name another row."
            )
        return f"--row {row}: {folder} holds rows {rows[0]} to {rows[-1]} of its corpus. Name one of them."
