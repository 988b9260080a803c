"""What each head attends to: special tokens, places in the text, kinds of words; and which heads agree.

Axes: H heads, B batch, T tokens, K bins or kinds.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from amix.engine.base import publish
from amix.engine.base.errors import TrainError
from amix.engine.extractor.tokenizer import open_tokenizer
from amix.study.attention.tokens import readable, token_texts
from amix.study.shards import open_every_head

Floats = NDArray[np.float64]
Tagger = Callable[[Sequence[str]], Sequence[str]]  # the words of a text -> the kind of each

ANALYSIS = "analysis.json"
BINS = 10  # equal parts of a text
MOST = 2_000  # texts
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class HeadProfile:
    """What one head attends to, as means over texts.

    special: share of all relevance that a special token receives, by token.
    entropy: of the relevance of content, divided by that of an even spread; 1 = even, 0 = all on one token.
    position: for each tenth of the text its share of the content's relevance, divided by its share of the tokens.
    kinds: for each kind of word the same (only with a tagger).
    """

    layer: int
    head: int
    special: dict[str, float]
    entropy: float
    position: list[float]
    kinds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The document `analysis.json`.

    texts: number of texts.  heads: a profile for each.
    agreement: (H, H), the mean correlation of two heads' relevance over a text's content.
    """

    texts: int
    heads: list[HeadProfile]
    agreement: list[list[float]]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `analysis.json` in `folder`. Raises TrainError when it is missing or damaged."""
        path = folder / ANALYSIS
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**document, "heads": [HeadProfile(**each) for each in document["heads"]]})
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise TrainError(f"{path}: cannot be read ({problem}). Run 'amix analyse' again.") from None

    def write(self, folder: Path) -> None:
        """Publish `analysis.json` in `folder`."""
        publish.write_atomic(folder / ANALYSIS, json.dumps(asdict(self), indent=1).encode() + b"\n")


def analyse(
    folder: str | Path, *, samples: int = MOST, subset_seed: int = 0, tagger: Tagger | None = None
) -> Analysis:
    """Return what the heads of a cache attend to, over `samples` texts drawn at random.

    tagger: gives every word its kind; it gets whole words, joined from their tokens.
    Raises TrainError for a cache without a text of two words or more.
    """
    dataset = open_every_head(folder)
    heads = dataset.manifest.heads
    tokenizer = open_tokenizer(dataset.folder / "tokenizer.json")
    numbers = np.random.Generator(np.random.Philox(subset_seed)).permutation(len(dataset))[:samples]
    numbers = numbers[np.argsort(dataset.lengths()[numbers], kind="stable")]
    sums = _Sums(len(heads))
    for begin in range(0, len(numbers), _BATCH):
        # Any: arrays by name, of which all that is read here is present.
        batch: Any = dataset.batch(numbers[begin : begin + _BATCH])
        for row, length in enumerate(batch["attention_mask"].sum(axis=1)):
            relevance_HT = batch["relevance"][row].reshape(len(heads), -1)[:, :length].astype(np.float64)
            tokens = token_texts(tokenizer, batch["input_ids"][row, :length].tolist())
            sums.add(relevance_HT, batch["content"][row, :length], tokens, tagger)
    if not sums.counted:
        raise TrainError(
            f"{dataset.folder}: no text that was drawn has two words or more, so there is nothing to analyse."
        )
    return Analysis(texts=len(numbers), heads=sums.profiles(heads), agreement=sums.agreement())


class _Sums:
    """What is added up over texts, for all heads at once."""

    def __init__(self, heads: int) -> None:
        self.counted = 0
        self._special: dict[str, Floats] = defaultdict(lambda: np.zeros(heads))
        self._entropy = np.zeros(heads)
        self._position, self._places = np.zeros((heads, BINS)), np.zeros(BINS)
        self._kinds: dict[str, Floats] = defaultdict(lambda: np.zeros(heads))
        self._words: dict[str, float] = defaultdict(float)
        self._agreement = np.zeros((heads, heads))

    def add(
        self, relevance_HT: Floats, content_T: NDArray[np.bool_], tokens: Sequence[str], tagger: Tagger | None
    ) -> None:
        """Add a text; one with fewer than two tokens of content is left out."""
        inside_HT = relevance_HT[:, content_T]
        words = inside_HT.shape[1]
        if words < 2:  # with one token there is no spread to measure
            return
        self.counted += 1
        total_H = relevance_HT.sum(axis=1)
        for place in np.flatnonzero(~content_T).tolist():
            self._special[tokens[place]] += relevance_HT[:, place] / np.maximum(total_H, 1e-30)
        share_HT = inside_HT / np.maximum(inside_HT.sum(axis=1, keepdims=True), 1e-30)
        logs_HT = np.log(np.where(share_HT > 0, share_HT, 1.0))
        self._entropy += -(share_HT * logs_HT).sum(axis=1) / np.log(words)
        bin_T = np.arange(words) * BINS // words
        np.add.at(self._position.T, bin_T, share_HT.T)
        np.add.at(self._places, bin_T, 1.0 / words)
        if tagger is not None:
            pieces = [token for token, inside in zip(tokens, content_T, strict=True) if inside]
            for place, kind in enumerate(_kinds_of(pieces, tagger)):
                self._kinds[kind] += share_HT[:, place]
                self._words[kind] += 1.0 / words
        centred_HT = share_HT - share_HT.mean(axis=1, keepdims=True)
        norm_H = np.sqrt((centred_HT**2).sum(axis=1))
        centred_HT /= np.maximum(norm_H, 1e-30)[:, None]
        self._agreement += centred_HT @ centred_HT.T

    def profiles(self, heads: Sequence[tuple[int, int]]) -> list[HeadProfile]:
        """Return the means, a profile per head."""
        position_HK = self._position / np.maximum(self._places, 1e-30)
        return [
            HeadProfile(
                layer=layer,
                head=head,
                special={
                    name: float(each[place] / self.counted) for name, each in sorted(self._special.items())
                },
                entropy=float(self._entropy[place] / self.counted),
                position=[float(value) for value in position_HK[place]],
                kinds={
                    kind: float(each[place] / self._words[kind]) for kind, each in sorted(self._kinds.items())
                },
            )
            for place, (layer, head) in enumerate(heads)
        ]

    def agreement(self) -> list[list[float]]:
        """Return the mean correlations."""
        means: list[list[float]] = (self._agreement / self.counted).tolist()
        return means


def _kinds_of(pieces: Sequence[str], tagger: Tagger) -> list[str]:
    """Return the kind of every piece, which is that of the word it belongs to."""
    words: list[str] = []
    owner: list[int] = []
    for piece in pieces:
        text, is_glued = readable(piece)
        if is_glued and words:
            words[-1] += text
        else:
            words.append(text)
        owner.append(len(words) - 1)
    kinds = list(tagger(words))
    assert len(kinds) == len(words), (len(kinds), len(words))
    return [kinds[word] for word in owner]
