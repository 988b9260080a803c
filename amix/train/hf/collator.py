"""Samples of a `RelevanceDataset`, or tokenized rows in Hugging Face's style, as batches for their Trainer.

Axes: B batch, S head specs, T tokens, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from amix.engine.base.errors import MixingError, UsageError
from amix.engine.extractor.tokenizer import special_ids
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.collate import Collate
from amix.loaders.stream.dataset import RelevanceDataset

LABELS = ("labels", "label", "label_ids")
Sample = Mapping[str, Any]  # whatever a data set holds: lists, arrays, tensors, numbers, texts
Row = dict[str, Any]  # a sample as `Collate` takes it: arrays by name, and a key
PER_TOKEN: dict[str, type[np.generic]] = {
    "token_type_ids": np.int64,
    "relevance": np.float32,
    "content": np.bool_,
    "attention_mask": np.bool_,
}


class RelevanceCollator:
    """Pads samples on the right; relevance, content, labels and token types come along where the samples have them.

    padding: whose padding id to use: a `RelevanceDataset`, a transformers tokenizer, or the id itself. The first
        two also know the special tokens, so that samples without `content` get it.
    Samples: mappings with input_ids and, if they have them, attention_mask, relevance (T,) or (S, T), content,
    token_type_ids, labels (or label, label_ids) and key, as lists, arrays or tensors. Tokens that
    attention_mask switches off are left out, so rows padded before, on either side, are padded anew.
    Returns tensors only: input_ids, attention_mask, token_type_ids (B, T) int64; relevance (B, T) or (B, S, T)
    float32; content (B, T) bool; labels (B,) int64, or (B, C) float32 for rows of class weights.
    Raises MixingError that names the sample, by its key or its place in the batch.
    """

    def __init__(self, padding: object) -> None:
        self.special_ids: tuple[int, ...] = ()
        if isinstance(padding, RelevanceDataset):
            pad_id: object = padding.manifest.pad_id
            self.special_ids = padding.manifest.special_ids
        elif hasattr(padding, "pad_token_id"):
            pad_id = padding.pad_token_id
            self.special_ids = special_ids(cast(PreTrainedTokenizerBase, padding))
        else:
            pad_id = padding
        if not isinstance(pad_id, int) or pad_id < 0:
            raise UsageError(
                f"RelevanceCollator: the padding id is {pad_id!r}. Give a RelevanceDataset, a tokenizer that has a "
                "pad token, or the id of the padding token."
            )
        self._collate = Collate(pad_id)

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Return the batch of `samples`, without keys."""
        rows = [
            self._row(
                sample, f"sample {sample['key']}" if "key" in sample else f"sample {place} of the batch"
            )
            for place, sample in enumerate(samples)
        ]
        for row in rows[1:]:
            for name in rows[0].keys() ^ row.keys():
                without = row if name in rows[0] else rows[0]
                raise MixingError(f"{without['key']}: has no {name}, which other samples of its batch have.")
        _require_alike("labels", [row["labels"].shape for row in rows if "labels" in row], rows)
        _require_alike("relevance", [row["relevance"].shape[:-1] for row in rows if "relevance" in row], rows)
        batch = self._collate(rows)
        del batch["keys"]  # the Trainer moves tensors to devices, and nothing else
        return batch

    def _row(self, sample: Sample, where: str) -> Row:
        """Return a checked sample; its key is what messages call it."""
        if "input_ids" not in sample:
            raise MixingError(
                f"{where}: has no input_ids, only {', '.join(sample)}. Tokenize the texts first."
            )
        ids_T = _array("input_ids", sample["input_ids"], np.int64, where)
        if ids_T.ndim != 1:
            raise MixingError(f"{where}: input_ids has {ids_T.ndim} axes; it must be one row of token ids.")
        tokens = {"input_ids": ids_T}
        for name, dtype in PER_TOKEN.items():
            if sample.get(name) is not None:
                tokens[name] = _array(name, sample[name], dtype, where)
        if "relevance" in tokens:
            _require_relevance(tokens["relevance"], where)
        if "content" not in tokens and self.special_ids:
            tokens["content"] = ~np.isin(ids_T, self.special_ids)
        for name, value in tokens.items():
            if value.shape[-1] != len(ids_T):
                raise MixingError(
                    f"{where}: {name} is for {value.shape[-1]} tokens, input_ids has {len(ids_T)}."
                )
        mask_T = tokens.pop("attention_mask", None)
        if mask_T is not None and not mask_T.all():
            tokens = {name: value[..., mask_T] for name, value in tokens.items()}
        if not len(tokens["input_ids"]):
            raise MixingError(f"{where}: has no token. Leave out empty texts.")

        row: Row = {"key": where, **tokens}
        label = next((sample[name] for name in LABELS if sample.get(name) is not None), None)
        if label is not None:
            row["labels"] = _label(label, where)
        return row


def _require_alike(name: str, shapes: list[tuple[int, ...]], rows: list[Row]) -> None:
    odd = next((place for place, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise MixingError(
            f"{rows[odd]['key']}: its {name} has shape {shapes[odd]}, that of {rows[0]['key']} has {shapes[0]} "
            "(without the tokens). All samples of a batch must be of one kind."
        )


def _require_relevance(relevance: NDArray[np.float32], where: str) -> None:
    if relevance.ndim > 2:
        raise MixingError(
            f"{where}: relevance has {relevance.ndim} axes; it must be (tokens,) or (specs, tokens)."
        )
    bad = ~(np.isfinite(relevance) & (relevance >= 0))
    if bad.any():
        raise MixingError(
            f"{where}: relevance holds {relevance[bad][0]} at token {int(np.argwhere(bad)[0][-1])}; it must be "
            "finite and not negative. Check the cache with 'amix verify --deep'."
        )


def _label(value: object, where: str) -> NDArray[Any]:  # of these dtypes
    """Return a class id as int64, a row of class weights as float32."""
    label = np.asarray(value)
    if label.dtype.kind not in "biuf" or label.ndim > 1 or (label.ndim == 0 and label.dtype.kind == "f"):
        raise MixingError(
            f"{where}: its label is {value!r}; it must be a class id, or a row with one weight per class."
        )
    return label.astype(np.int64 if label.ndim == 0 else np.float32)


def _array(name: str, value: object, dtype: type[np.generic], where: str) -> NDArray[Any]:  # of that dtype
    try:
        return np.atleast_1d(np.asarray(value)).astype(dtype, copy=False)
    except (TypeError, ValueError) as problem:
        raise MixingError(f"{where}: {name} is not an array of numbers ({problem}).") from None
