"""The frozen encoder as PyTorch runs it: loaded from the Hub or a folder, and identified."""

import contextlib
import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from amix.engine.base.errors import AmixError, ExportError, UsageError

if TYPE_CHECKING:
    from transformers import (
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        PreTrainedTokenizerFast,
    )

_Error = TypeVar("_Error", bound=AmixError)

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")


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


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and load reports; amix checks what they report itself."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_encoder(model: str, revision: str | None = None) -> Encoder:
    """Return the encoder of a Hub id or a local folder, without the head that its checkpoint may have.

    Code from the Hub is never run. Raises ExportError, or UsageError where the arguments cannot be right.
    """
    folder = folder_of(model)
    source = model if folder is None else _checked_folder(folder, revision)

    from transformers import AutoConfig, AutoModel, AutoTokenizer

    with quiet_transformers():
        try:
            commit = hub_commit(model, revision) if folder is None else None
            config = AutoConfig.from_pretrained(source, revision=commit)
            network, info = AutoModel.from_pretrained(
                source,
                revision=commit,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
            )
            found = AutoTokenizer.from_pretrained(source, revision=commit, use_fast=True)
        except Exception as problem:
            at = f"{model} at revision {revision}" if revision else model
            raise load_error(ExportError, at, "cannot be loaded as an encoder", problem) from problem
    # A pooler may be missing (MLM checkpoints): it is not needed, and its random weights must not be hashed.
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key.split("."))
    if missing:
        raise ExportError(
            f"{model}: the checkpoint lacks {len(missing)} of the encoder's weights ({', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}), which would be random. Use a complete checkpoint."
        )
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
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


def folder_of(model: str) -> Path | None:
    """Return the folder that a model's name means, None for a Hub id.

    Raises UsageError for a name that can only be a folder and is not one.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UsageError(f"{model}: no such folder. Give a folder with config.json and weights, or a Hub id.")
    return None


def hub_commit(model: str, revision: str | None = None) -> str:
    """Return the commit that a model's name means on the Hub, or in the local Hub cache when offline.

    transformers 5 no longer reports it. Raises what huggingface_hub raises.
    """
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(model, "config.json", revision=revision)).parent.name


def _checked_folder(folder: Path, revision: str | None) -> str:
    if revision is not None:
        raise UsageError(
            f"--revision {revision}: {folder} is a folder; only models on the Hub have revisions."
        )
    for what, names in (
        ("config.json", ("config.json",)),
        ("weights (model.safetensors)", _WEIGHTS),
        ("a tokenizer (tokenizer.json)", _TOKENIZERS),
    ):
        if not any((folder / name).exists() for name in names):
            raise ExportError(
                f"{folder}: not an encoder, {what} is missing. Save model and tokenizer there with "
                "save_pretrained()."
            )
    return str(folder)


def load_error(error: type[_Error], model: str, what: str, problem: Exception) -> _Error:
    """Return the error for a model that transformers or the Hub refused, with the first line of their message.

    what: what failed, for example `cannot be loaded as an encoder`.
    """
    reason = next(
        (line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__
    )
    return error(
        f"{model}: {what} ({reason}). Check the Hub id and the network, or give a folder with config.json, "
        "weights and tokenizer. Code that comes with a model is never run."
    )


def _checked_tokenizer(
    model: str, tokenizer: "PreTrainedTokenizerBase", config: "PretrainedConfig"
) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ExportError(
            f"{model}: its tokenizer ({type(tokenizer).__name__}) has no fast version, but amix stores "
            "a tokenizer.json. Convert it with transformers.convert_slow_tokenizer and save it beside the weights."
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
