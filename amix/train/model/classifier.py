"""The model that is trained: a Hugging Face classifier whose tokenizer is the cache's."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from torch import Tensor, nn

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError
from amix.engine.extractor.checkpoint import load_weights
from amix.engine.extractor.encoder import position_table_room
from amix.engine.extractor.pretrained import (
    folder_of,
    hub_commit,
    load_error,
    open_config,
    open_pretrained_tokenizer,
    quiet_transformers,
    source_of,
)
from amix.engine.extractor.tokenizer import tokenizer_fingerprint
from amix.loaders.shards.manifest import Manifest
from amix.loaders.stream.dataset import RelevanceDataset

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Output(Protocol):
    """What a classifier returns."""

    @property
    def logits(self) -> Tensor:
        """The logits, (B, C)."""


class Classifier(Protocol):
    """What we use of a transformers sequence classifier, which is a torch module."""

    config: Any  # every family has a class of its own, with settings of its own
    training: bool
    supports_gradient_checkpointing: bool

    def __call__(self, **inputs: Any) -> Output:  # noqa: ANN401  tensors and switches, by name
        """Run the model."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  every family has parameters of its own
        """Run the model; we look at the names of the parameters."""

    @property
    def base_model(self) -> "PreTrainedModel":
        """The encoder below the classification head."""

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of word embeddings."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the weights that can be trained."""

    def modules(self) -> Iterator[nn.Module]:
        """Yield the model and every module inside."""

    def train(self, mode: bool = True) -> Self:
        """Switch dropout on, or off."""

    def eval(self) -> Self:
        """Switch dropout off."""

    @property
    def to(self) -> Callable[..., Any]:  # which transformers declares as a wrapper without a signature
        """Move the weights to a device."""

    def zero_grad(self) -> None:
        """Clear the gradients."""

    def compile(self, *, dynamic: bool) -> None:
        """Have torch compile the forward pass."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights by name."""

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object:
        """Load weights by name."""

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, bool]) -> object:
        """Compute activations again in the backward pass."""

    def save_pretrained(self, save_directory: Path) -> object:
        """Write configuration and weights."""


# A classifier as it is, or wrapped (DistributedDataParallel, torch.compile): see `network.unwrapped`.
Model = nn.Module | Classifier


def load_tokenizer(model: str, manifest: Manifest) -> Any:  # noqa: ANN401  a transformers tokenizer
    """Return the tokenizer of MODEL, a Hub id or a folder.

    Raises TrainError unless it gives the same ids as the one that the cache was made with.
    """
    source = source_of(model, TrainError, "tokenizer")
    with quiet_transformers():
        tokenizer: Any = open_pretrained_tokenizer(source, TrainError)  # any of transformers' kinds
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


def load_classifier(model: str, label_names: Sequence[str], manifest: Manifest) -> Classifier:
    """Return a float32 `*ForSequenceClassification` of MODEL for these classes.

    A new head draws from torch's generator. Raises TrainError when it cannot be loaded, when its checkpoint does not
    hold the whole encoder, or when it has fewer word embeddings than the cache has token ids.
    """
    source = source_of(model, TrainError, "weights")

    from transformers import AutoModelForSequenceClassification

    with quiet_transformers():
        try:
            config = open_config(
                source,
                num_labels=len(label_names),
                id2label=dict(enumerate(label_names)),
                label2id={name: number for number, name in enumerate(label_names)},
                # Set, because without it the model guesses its loss from the labels it gets (float labels: BCE).
                problem_type="multi_label_classification"
                if manifest.multi_label
                else "single_label_classification",
                # Some were saved to return more than logits, which costs memory, and fused attention refuses.
                output_attentions=False,
                output_hidden_states=False,
            )
            classifier: Classifier = load_weights(
                AutoModelForSequenceClassification,
                source,
                model,
                TrainError,
                config=config,
                dtype=torch.float32,  # transformers 5 would keep a checkpoint's half precision
            )
        except Exception as problem:
            raise load_error(TrainError, model, "cannot be loaded as a classifier", problem) from problem
    settings = classifier.config.get_text_config()
    if settings.pad_token_id is None:
        # Decoder-style classifiers find the last token by it, in training and whenever the model is used later.
        settings.pad_token_id = manifest.pad_id
    words = len(embeddings_of(classifier))
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
    return embeddings_of(load_classifier(model, names, manifest))


def embeddings_of(classifier: Classifier) -> Tensor:
    """Return the table of word embeddings, (V, D), without a gradient."""
    weight = classifier.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def require_room(classifier: Classifier, model: str, dataset: RelevanceDataset) -> None:
    """Raise TrainError when a text of the cache is longer than the model has positions for."""
    positions, longest = usable_positions(classifier), int(dataset.lengths().max(initial=0))
    if longest > positions:
        raise TrainError(
            f"{model}: has room for {positions} tokens, {dataset.folder} holds texts of up to {longest}. Run "
            f"'amix precompute' with --max-length {positions}, or take a model with more positions."
        )


def usable_positions(classifier: Classifier) -> int:
    """Return how many tokens the model has positions for (512 of RoBERTa's 514)."""
    room = position_table_room(classifier.base_model)
    if room is not None:
        return room
    limit = getattr(classifier.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else 1_000_000  # relative positions have no limit


def takes_token_types(classifier: Classifier) -> bool:
    """Tell whether the model distinguishes the two texts of a pair."""
    types = getattr(classifier.config, "type_vocab_size", 0) or 0
    return types > 1 and "token_type_ids" in inspect.signature(type(classifier).forward).parameters


def model_identity(model: str) -> str:
    """Return what MODEL is: for a folder a sha256 over its configuration and weights, else its Hub id and commit.

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
