"""Tiny random encoders of every family, saved with one shared tokenizer."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers

from tests.tinybert import write_tokenizer

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.5,
    "pad_token_id": 0,
}
DISTILBERT = {
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 32,
    "initializer_range": 0.5,
    "pad_token_id": 0,
    "max_position_embeddings": 64,
}

XLM = {
    "emb_dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "embed_init_std": 0.5,
    "init_std": 0.5,
    "max_position_embeddings": 64,
    "pad_index": 0,
    "pad_token_id": 0,
}

# Special tokens within the tiny vocabulary.
IDS = {"bos_token_id": 2, "eos_token_id": 3}
GPT2 = {
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 64,
    "initializer_range": 0.5,
    "pad_token_id": 0,
    **IDS,
}
DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
# Layer 0 attends to everything, layer 1 to four tokens on either side.
MODERN = {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3, **IDS}
GROUPED = {"num_key_value_heads": 1, **IDS}

# Family -> configuration class, its settings, usable positions. RoBERTa and its kin lose pad + 1 positions.
FAMILIES: dict[str, tuple[str, Mapping[str, object], int]] = {
    "bert": ("BertConfig", {**SMALL, "max_position_embeddings": 64}, 64),
    "roberta": ("RobertaConfig", {**SMALL, "max_position_embeddings": 66, "type_vocab_size": 1}, 65),
    "distilbert": ("DistilBertConfig", DISTILBERT, 64),
    "electra": ("ElectraConfig", {**SMALL, "max_position_embeddings": 64, "embedding_size": 8}, 64),
    "mpnet": ("MPNetConfig", {**SMALL, "max_position_embeddings": 66, "pad_token_id": 1}, 64),
    "albert": ("AlbertConfig", {**SMALL, "max_position_embeddings": 64, "embedding_size": 8}, 64),
    "xlm-roberta": ("XLMRobertaConfig", {**SMALL, "max_position_embeddings": 66, "type_vocab_size": 1}, 65),
    "deberta-v2": ("DebertaV2Config", {**SMALL, "max_position_embeddings": 64, **DEBERTA}, 64),
    "modernbert": ("ModernBertConfig", {**SMALL, "max_position_embeddings": 64, **MODERN}, 64),
    "gpt2": ("GPT2Config", GPT2, 64),
    "llama": ("LlamaConfig", {**SMALL, "max_position_embeddings": 64, **GROUPED}, 64),
    "mobilebert": (
        "MobileBertConfig",
        {**SMALL, "max_position_embeddings": 64, "embedding_size": 16, "intra_bottleneck_size": 8},
        64,
    ),
    "flaubert": ("FlaubertConfig", XLM, 64),
    "xlm": ("XLMConfig", XLM, 64),
    "lilt": (
        "LiltConfig",
        {**SMALL, "hidden_size": 24, "channel_shrink_ratio": 2, "max_position_embeddings": 66},
        65,
    ),
    "layoutlm": ("LayoutLMConfig", {**SMALL, "max_position_embeddings": 64}, 64),
    "mistral": (
        "MistralConfig",
        {**SMALL, "max_position_embeddings": 64, "sliding_window": 8, **GROUPED},
        64,
    ),
}
CAUSAL = ("gpt2", "llama", "mistral")
# Family -> configuration class, its settings, and why amix cannot read its attention.
UNREADABLE: dict[str, tuple[str, Mapping[str, object], str]] = {
    "fnet": (
        "FNetConfig",
        {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, "max_position_embeddings": 64},
        "",
    ),
    "convbert": ("ConvBertConfig", {**SMALL, "embedding_size": 16, "max_position_embeddings": 64}, ""),
    "squeezebert": (
        "SqueezeBertConfig",
        {**SMALL, "embedding_size": 16, "max_position_embeddings": 64},
        "its layers return scores, not probabilities",
    ),
    "canine": (
        "CanineConfig",
        {**SMALL, "max_position_embeddings": 64},
        r"the model cannot be called \(max_pool",
    ),
    "t5": (
        "T5Config",
        {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
        "it is an encoder with a decoder",
    ),
}


def save(folder: Path, config_class: str, settings: Mapping[str, object], **more: object) -> Path:
    """Save a model of random weights and the tests' tokenizer to `folder`, and return it."""
    size = write_tokenizer(folder, max_length=64)
    config = getattr(transformers, config_class)(**{**settings, **more, "vocab_size": size})
    with torch.random.fork_rng(), warnings.catch_warnings():
        # DeBERTa-v2 and ModernBERT of transformers 4.57 use torch.jit where they are defined.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config)
    model.save_pretrained(folder)
    return folder


def save_family(folder: Path, family: str, **more: object) -> Path:
    """Save the tiny encoder of one of FAMILIES to `folder`, and return it."""
    config_class, settings, _ = FAMILIES[family]
    return save(folder, config_class, settings, **more)
