"""The frozen encoder as PyTorch runs it: loaded from the Hub or a folder, and identified."""

import hashlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from amix.engine.base.errors import ExportError, UsageError
from amix.engine.extractor.checkpoint import load_weights
from amix.engine.extractor.pretrained import (
    folder_of,
    hub_commit,
    load_error,
    open_config,
    open_pretrained_tokenizer,
    quiet_transformers,
    source_of,
)

if TYPE_CHECKING:
    from transformers import (
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        PreTrainedTokenizerFast,
    )


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen encoder with what amix has to know about it.

    model: float32, in eval mode, eager attention, without pooler. Do not change it: RelevanceModule copies it.
    name, revision: the name given, and the commit it resolved to (None for a folder).
    weights_sha256: over names, dtypes, shapes and bytes of all weights.
    max_length: the number of tokens the position table has room for (512 of RoBERTa's 514).
    """

    model: "PreTrainedModel"
    config: "PretrainedConfig"
    tokenizer: "PreTrainedTokenizerFast"
    name: str
    revision: str | None
    weights_sha256: str
    max_length: int
    needs_token_types: bool

    @property
    def model_type(self) -> str:
        """The family as transformers names it, for example `bert`."""
        return str(self.config.model_type)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers and of heads in each."""
        return attention_shape(self.config)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs of the graph, in order."""
        return ("input_ids", "attention_mask", *(("token_type_ids",) if self.needs_token_types else ()))


def attention_shape(config: "PretrainedConfig") -> tuple[int, int]:
    """Return the number of layers and of heads in each. Raises ExportError where the configuration does not say."""
    layers, heads = (getattr(config, f"num_{part}", None) for part in ("hidden_layers", "attention_heads"))
    if not isinstance(layers, int) or not isinstance(heads, int):
        raise unreadable(
            str(config.model_type), "its configuration does not give the number of layers and heads"
        )
    return layers, heads


def unreadable(model_type: str, why: str) -> ExportError:
    """Return the error for a model that gives no attention weights."""
    return ExportError(
        f"a model of type '{model_type}' gives no readable attention: {why}. amix needs an encoder whose "
        "layers return softmax attention weights with attn_implementation='eager': BERT, RoBERTa, DistilBERT, "
        "ELECTRA, MPNet, ALBERT, XLM-R, DeBERTa-v2, ModernBERT, GPT-2, Llama or a similar one."
    )


def load_encoder(model: str, revision: str | None = None) -> Encoder:
    """Return the encoder of a Hub id or a local folder, without the head that its checkpoint may have.

    Code from the Hub is never run. Raises ExportError, or UsageError where the arguments cannot be right.
    """
    folder = folder_of(model)
    if folder is not None and revision is not None:
        raise UsageError(
            f"--revision {revision}: {folder} is a folder; only models on the Hub have revisions."
        )
    source = source_of(model, ExportError, "weights", "tokenizer")

    from transformers import AutoModel

    with quiet_transformers():
        try:
            commit = hub_commit(model, revision) if folder is None else None
            config = open_config(source, revision=commit)
            network = load_weights(
                AutoModel,
                source,
                model,
                ExportError,
                revision=commit,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager",
            )
            found = open_pretrained_tokenizer(source, ExportError, commit)
        except Exception as problem:
            at = f"{model} at revision {revision}" if revision else model
            raise load_error(ExportError, at, "cannot be loaded as an encoder", problem) from problem
    remove_pooler(network)
    tokenizer = _checked_tokenizer(model, found, config)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()

    network.eval().requires_grad_(False)
    types = getattr(config, "type_vocab_size", 0) or 0
    return Encoder(
        model=network,
        config=config,
        tokenizer=tokenizer,
        name=model,
        revision=commit,
        weights_sha256=hash_weights(network),
        max_length=_usable_positions(network, tokenizer),
        needs_token_types=types > 1 and "token_type_ids" in inspect.signature(network.forward).parameters,
    )


def remove_pooler(network: "PreTrainedModel") -> None:
    """Take the pooler out of an encoder in place: it is not needed, and may be random, which must not be hashed."""
    if getattr(network, "pooler", None) is None:
        return
    if "add_pooling_layer" in inspect.signature(type(network).__init__).parameters:
        network.pooler = None  # type: ignore[assignment]  # which torch takes for a module that is not there
    else:
        network.pooler = nn.Identity()  # SqueezeBERT and LayoutLM call it without looking


def _checked_tokenizer(
    model: str, tokenizer: "PreTrainedTokenizerBase", config: "PretrainedConfig"
) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ExportError(
            f"{model}: its tokenizer ({type(tokenizer).__name__}) has no fast version, but amix stores "
            "a tokenizer.json. Save one beside the weights that gives the same ids, or take a model that has one."
        )
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= config.vocab_size:
        raise ExportError(
            f"{model}: the tokenizer's largest id is {largest}, but the model has {config.vocab_size} "
            "embeddings. Save the tokenizer that the model was trained with beside it."
        )
    return tokenizer


def hash_weights(network: nn.Module) -> str:
    """Return a sha256 over names, dtypes, shapes and bytes of all weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def position_table_room(network: nn.Module) -> int | None:
    """Return how many tokens a model's table of positions has room for (512 of RoBERTa's 514); None without one."""
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and related models count positions from pad + 1, which shows as a padding index of the table.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def _usable_positions(network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast") -> int:
    room = position_table_room(network)
    if room is not None:
        return room
    limits = (
        getattr(network.config, "max_position_embeddings", None),
        getattr(tokenizer, "model_max_length", None),
    )
    return min((limit for limit in limits if isinstance(limit, int) and 0 < limit < 1_000_000), default=512)
