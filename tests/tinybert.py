"""A tiny random BERT and a tokenizer that knows every ASCII text, as a folder like those of the Hub."""

import json
import string
from pathlib import Path

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "the a an and or but of to in on at for with from by as is was are were be been it its this that "
    "these those "
    "i you he she they we his her their our my not no never very too so more most much little film "
    "movie story plot "
    "actor actors acting scene scenes ending director script dialogue music score camera cast character "
    "characters "
    "good great fine funny warm moving clever bright lovely tender sharp fresh bad dull slow boring "
    "weak flat loud "
    "cold stale tired messy hollow long short old new young best worst better worse first last time "
    "year night day "
    "makes made feels felt looks seems goes went loses lost finds found never ever every each one two "
    "three all some "
    "nothing something anything love loved hate hated like liked enjoy enjoyed laugh cried watch "
    "watched see seen "
    "again once more than then there here what who why how when where which while because if into out "
    "up down over"
).split()


def write_tokenizer(folder: Path, max_length: int) -> int:
    """Write a small uncased WordPiece tokenizer that knows every ASCII text; return its vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL, *string.punctuation, *letters, *(f"##{letter}" for letter in letters), *WORDS]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=1000))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocab), encoding="utf-8")
    settings = {
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": True,
        "model_max_length": max_length,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True)),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return len(vocab)


def write_bert(folder: Path) -> None:
    """Save a BERT with random weights in `folder`: 2 layers, 2 heads, width 16, 64 positions, and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    size = write_tokenizer(folder, max_length=64)
    config = BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,  # wide, so that attention is far from uniform
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(config)
    model.save_pretrained(folder)
