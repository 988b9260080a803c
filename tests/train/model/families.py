"""Tiny random classifiers of every family, and a batch of rows of different lengths."""

import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from amix.loaders.stream.batch import Batch

_SMALL: dict[str, Any] = {
    "initializer_range": 0.3,
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
}
_PAST_PAD = {"max_position_embeddings": 26, "pad_token_id": 1}  # positions are counted from pad + 1
_GROUPED = {"num_key_value_heads": 1, "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 3}
# Token ids of the special tokens are inside the tiny vocabulary.
_MODERN = {
    "local_attention": 6,
    "global_attn_every_n_layers": 2,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "bos_token_id": 2,
    "eos_token_id": 3,
}

# Name -> transformers' model type, and what differs from _SMALL.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "roberta": ("roberta", {**_PAST_PAD, "type_vocab_size": 1}),
    "distilbert": ("distilbert", {"hidden_dim": 32}),
    "electra": ("electra", {"embedding_size": 8}),
    "mpnet": ("mpnet", _PAST_PAD),
    "albert": ("albert", {"embedding_size": 8}),
    "albert in groups": ("albert", {"embedding_size": 8, "num_hidden_groups": 3}),
    "xlm-roberta": ("xlm-roberta", _PAST_PAD),
    "deberta-v2": (
        "deberta-v2",
        {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "position_buckets": 4,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pooler_hidden_size": 16,
        },
    ),
    "modernbert cls": ("modernbert", {**_MODERN, "classifier_pooling": "cls"}),
    "modernbert mean": ("modernbert", {**_MODERN, "classifier_pooling": "mean"}),
    "gpt2": ("gpt2", {"eos_token_id": 2, "bos_token_id": 2}),
    "llama": ("llama", _GROUPED),
    "qwen2": ("qwen2", _GROUPED),
    "mistral": ("mistral", {**_GROUPED, "sliding_window": 5}),
}


def classifier(family: str, **more: Any) -> Any:  # whose inside is a family's own
    """Return a classifier of random weights into three classes, in eval mode."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    kind, settings = FAMILIES[family]
    with torch.random.fork_rng(), warnings.catch_warnings():
        # DeBERTa-v2 and ModernBERT of transformers 4.57 use torch.jit where they are defined.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, num_labels=3, **{**_SMALL, **settings, **more})
        model = AutoModelForSequenceClassification.from_config(config).eval()
        for value in model.parameters():  # biases start at 0 and norms at 1, which would hide them
            if value.ndim == 1:
                with torch.no_grad():
                    value.add_(0.1 * torch.randn_like(value))
    return model


def batch(model: Any, lengths: tuple[int, ...] = (9, 5, 7)) -> Batch:
    """Return rows of these lengths with relevance, content and token types, padded on the right."""
    tokens, pad = max(lengths), model.config.pad_token_id or 0
    mask = (torch.arange(tokens) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(4, 40, mask.shape, generator=torch.Generator().manual_seed(1))
    return {
        "input_ids": torch.where(mask.bool(), ids, pad),
        "attention_mask": mask,
        "relevance": torch.rand(mask.shape, generator=torch.Generator().manual_seed(2)) * mask,
        "content": mask.bool(),
        "token_type_ids": (torch.arange(tokens).expand_as(mask) > 3).long() * mask,
    }


def widened(data: Batch, by: int, pad: int) -> Batch:
    """Return the batch with `by` more positions of padding."""
    wide = {
        name: nn.functional.pad(value, (0, by), value=pad if name == "input_ids" else 0)
        for name, value in data.items()
        if isinstance(value, Tensor)
    }
    return cast(Batch, wide)


def first_rows(data: Batch, rows: int) -> Batch:
    """Return the batch of the first `rows` rows."""
    return cast(Batch, {name: value[:rows] for name, value in data.items() if isinstance(value, Tensor)})
