"""What a dtype costs: how far relevance in float16 or int8 is from the encoder's own, head by head.

Axes: B batch, H heads, T tokens.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from amix.engine.base.ranks import rank_correlation
from amix.engine.extractor.folder import Extractor
from amix.engine.extractor.measures import Fidelity, Measure
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.runner import Ids
from amix.engine.extractor.session import Session
from amix.engine.extractor.tokenizer import open_tokenizer
from amix.exporters.parity import TEXTS

LENGTHS = (16, 32, 64, 128, 256, 512)  # tokens; int8 errs more on longer texts
_EVERY = 3  # for each length, one text begins at every third sentence
_REPEATS = 4  # all sentences together are about 250 tokens, the longest text has 512
_DIGITS = 6


def fidelity(session: Session, reference: RelevanceModule) -> Fidelity:
    """Compare `session` with `reference`, the same heads in eager PyTorch and float32, on real text."""
    extractor = session.extractor
    square_H, norm_H, order_H = np.zeros((3, len(extractor.heads)))
    tokens, texts = 0, _texts(extractor)
    for inputs in texts:
        found_HT = session.run(**inputs)[0]
        with torch.inference_mode():
            expected_BHT = reference(*(torch.from_numpy(inputs[name]) for name in extractor.inputs))
        expected_HT = expected_BHT[0].numpy().astype(np.float64)
        square_H += np.square(found_HT - expected_HT).sum(axis=1)
        norm_H += np.square(expected_HT).sum(axis=1)
        content_T = ~np.isin(inputs["input_ids"][0], extractor.special_ids)
        order_H += rank_correlation(found_HT[:, content_T], expected_HT[:, content_T])
        tokens += content_T.size
    return Fidelity(
        texts=len(texts),
        tokens=tokens,
        relative_l2=_over_heads(np.sqrt(square_H / norm_H), extractor, worst="highest"),
        rank_correlation=_over_heads(order_H / len(texts), extractor, worst="lowest"),
    )


def _texts(extractor: Extractor) -> list[dict[str, Ids]]:
    """Return texts of every length that the encoder takes, each as one batch: nothing is padded."""
    tokenizer = open_tokenizer(extractor.folder / "tokenizer.json")
    texts = []
    for length in sorted({min(length, extractor.max_length) for length in LENGTHS}):
        tokenizer.enable_truncation(length)
        for first in range(0, len(TEXTS), _EVERY):
            encoding = tokenizer.encode(" ".join((TEXTS[first:] + TEXTS[:first]) * _REPEATS))
            inputs = {
                "input_ids": np.array([encoding.ids], np.int64),
                "attention_mask": np.ones((1, len(encoding.ids)), np.int64),
                "token_type_ids": np.array([encoding.type_ids], np.int64),
            }
            texts.append({name: inputs[name] for name in extractor.inputs})
    return texts


def _over_heads(
    values_H: NDArray[np.float64], extractor: Extractor, worst: Literal["highest", "lowest"]
) -> Measure:
    ascending = np.argsort(values_H)
    best_place, worst_place = ascending[[0, -1] if worst == "highest" else [-1, 0]]
    layer, head = extractor.heads[worst_place]
    return Measure(
        per_head=tuple(round(float(value), _DIGITS) for value in values_H),
        best=round(float(values_H[best_place]), _DIGITS),
        median=round(float(np.median(values_H)), _DIGITS),
        worst=round(float(values_H[worst_place]), _DIGITS),
        worst_head=f"{layer}.{head}",
    )
