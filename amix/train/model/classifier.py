"""The model that is trained: a Hugging Face classifier whose tokenizer is the cache's."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError
from amix.engine.extractor.encoder import (
    folder_of,
    hub_commit,
    load_error,
    position_table_room,
    quiet_transformers,
)
from amix.engine.extractor.tokenizer import tokenizer_fingerprint
from amix.loaders.shards.manifest import Manifest
from amix.loaders.stream.dataset import RelevanceDataset


def load_tokenizer(model: str, manifest: Manifest) -> Any:  # noqa: ANN401  a transformers tokenizer
    """Return the tokenizer of MODEL, a Hub id or a folder.

    Raises TrainError unless it gives the same ids as the one that the cache was made with.
    """
    place = _place(model)

    from transformers import AutoTokenizer

    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True)
        except Exception as problem:
            raise load_error(TrainError, model, "its tokenizer cannot be loaded", problem) from problem
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TrainError(
            f"{model}: its tokenizer has no tokenizer.json to compare with the cache's; use a fast one."
        )
    found = tokenizer_fingerprint(backend.to_str(), f"{model}: tokenizer")
    if found != manifest.tokenizer_fingerprint:
        raise TrainError(
            f"{model}: its tokenizer ({found[:12]}) is not the one of {manifest.folder} "
            f"({manifest.tokenizer_fingerprint[:12]}), so the cached token ids mean other words. "
            "Take a model with the extractor's tokenizer, or export an encoder "
            "with this model's and precompute again."
        )
    return tokenizer


def load_classifier(model: str, label_names: Sequence[str], manifest: Manifest) -> Any:  # noqa: ANN401
    """Return a float32 `*ForSequenceClassification` of MODEL for these classes.

    A new head draws from torch's generator. Raises TrainError when it cannot be loaded, or has fewer
    word embeddings than the cache has token ids.
    """
    from transformers import AutoModelForSequenceClassification

    with quiet_transformers():
        try:
            classifier = AutoModelForSequenceClassification.from_pretrained(
                _place(model),
                num_labels=len(label_names),
                id2label=dict(enumerate(label_names)),
                label2id={name: number for number, name in enumerate(label_names)},
                # Named, so that no label that is ever passed can make the model guess (float labels: BCE).
                problem_type="multi_label_classification"
                if manifest.multi_label
                else "single_label_classification",
                dtype=torch.float32,  # transformers 5 would keep a checkpoint's half precision
                ignore_mismatched_sizes=True,  # a head for other classes is replaced
            )
        except Exception as problem:
            raise load_error(TrainError, model, "cannot be loaded as a classifier", problem) from problem
    settings = classifier.config.get_text_config()
    if settings.pad_token_id is None:
        # Decoders find the last token by it, here and in every later use of the trained model.
        settings.pad_token_id = manifest.pad_id
    words = classifier.get_input_embeddings().num_embeddings
    if manifest.vocab_size > words:
        raise TrainError(
            f"{model}: has {words} word embeddings, the token ids of {manifest.folder} go to "
            f"{manifest.vocab_size - 1}. Take the model that belongs to the tokenizer."
        )
    return classifier


def load_embeddings(model: str, manifest: Manifest) -> torch.Tensor:
    """Return the word embeddings of MODEL, (V, D). Raises TrainError for a tokenizer that is not the cache's."""
    load_tokenizer(model, manifest)
    names = manifest.label_names or ("0", "1")
    weight: torch.Tensor = load_classifier(model, names, manifest).get_input_embeddings().weight
    return weight.detach()


def require_room(classifier: nn.Module, model: str, dataset: RelevanceDataset) -> None:
    """Raise TrainError when a text of the cache is longer than the model has positions for."""
    positions, longest = usable_positions(classifier), int(dataset.lengths().max(initial=0))
    if longest > positions:
        raise TrainError(
            f"{model}: has room for {positions} tokens, {dataset.folder} holds texts of up to {longest}. Run "
            f"'amix precompute' with --max-length {positions}, or take a model with more positions."
        )


def usable_positions(classifier: nn.Module) -> int:
    """Return how many tokens the model has positions for (512 of RoBERTa's 514)."""
    room = position_table_room(classifier)
    if room is not None:
        return room
    limit = getattr(classifier.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else 1_000_000  # relative positions know no limit


def takes_token_types(classifier: nn.Module) -> bool:
    """Tell whether the model distinguishes the two texts of a pair."""
    config: Any = classifier.config
    types = getattr(config, "type_vocab_size", 0) or 0
    return types > 1 and "token_type_ids" in inspect.signature(type(classifier).forward).parameters


def model_identity(model: str) -> str:
    """Return what MODEL is, wherever it lies: a sha256 over configuration and weights of a folder, or id and commit.

    Raises UsageError for a folder that is not there, TrainError for an id that the Hub does not know.
    """
    folder = folder_of(model)
    if folder is not None:
        weights = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
        files = [path for path in (folder / "config.json", *weights) if path.is_file()]
        found = canonical.dumps({path.name: publish.sha256_file(path) for path in files})
        return f"sha256 {publish.sha256_bytes(found)}"

    with quiet_transformers():
        try:
            return f"{model} at {hub_commit(model)}"
        except Exception as problem:  # a dozen types, from no network to no such model
            raise load_error(TrainError, model, "cannot be found", problem) from problem


def _place(model: str) -> str:
    """Return what transformers loads. Raises UsageError as `folder_of` does."""
    return str(folder_of(model) or model)
