"""What tests share: a tiny random encoder, its extractor, sixty short reviews and shards of them."""

import itertools
import json
import logging
import os
import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of huggingface_hub: no test may reach for the network
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Tiny models are faster on one thread, by far when other tests run beside.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# pytest hands its handler to every logger that does not propagate; with one, PyTorch traces
# each step of torch.export in detail, which doubles the time of an export.
logging.getLogger("torch.__trace").addHandler = lambda handler: None  # type: ignore[method-assign]

MakeShards = Callable[..., Path]
Rows = Iterable[Mapping[str, Any]]

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


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write `rows` as JSON Lines and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


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


@pytest.fixture(name="write_jsonl", scope="session")
def write_jsonl_fixture() -> Callable[[Path, Iterable[Mapping[str, Any]]], Path]:
    """The function `write_jsonl(path, rows) -> path`."""
    return write_jsonl


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved BERT with random weights: 2 layers, 2 heads, width 16, 64 positions, and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
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
    return folder


@pytest.fixture(scope="session")
def tiny_extractor(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX extractor of `tiny_bert`: four heads, relevance kind `received`."""
    from amix.exporters.export import export

    out = tmp_path_factory.mktemp("extractor") / "tiny"
    export(str(tiny_bert), out)
    return out


@pytest.fixture(scope="session")
def review_rows() -> list[dict[str, Any]]:
    """Sixty short reviews of different lengths, `{"text", "label"}`, label 1 for the kind ones."""
    subjects = ("the film", "this movie", "the story", "her acting", "the script")
    words = {
        1: ("warm", "funny and clever", "a lovely surprise"),
        0: ("dull", "slow and hollow", "a tired mess"),
    }
    tails = (
        "",
        ", and I'd watch it again",
        " from the first scene to the last: nothing in it rings true or false",
    )
    rows = [
        {"text": f"{subject} is {word}{tail}.".capitalize(), "label": label}
        for subject, (label, choices), tail in itertools.product(subjects, words.items(), tails)
        for word in choices
    ]
    return [
        rows[(7 * number) % len(rows)] for number in range(60)
    ]  # 7 and 90 share no divisor: all different


@pytest.fixture(scope="session")
def make_shards(
    tiny_extractor: Path,
    write_jsonl: Callable[[Path, Rows], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> MakeShards:
    """`make_shards(rows, extractor=..., no_labels=...)` -> a shard folder."""
    from amix.loaders.corpus import CorpusOptions
    from amix.loaders.precompute.run import PrecomputeOptions, precompute

    def make(rows: Rows, extractor: Path = tiny_extractor, heads: str = "all", **corpus: Any) -> Path:
        folder = tmp_path_factory.mktemp("shards")
        source = write_jsonl(folder / "rows.jsonl", rows)
        precompute(
            str(source),
            folder / "shards",
            extractor=extractor,
            corpus_options=CorpusOptions(**corpus),
            options=PrecomputeOptions(workers=1, heads=heads),
        )
        return folder / "shards"

    return make


@pytest.fixture(scope="session")
def reviews(make_shards: MakeShards, review_rows: list[dict[str, Any]]) -> Path:
    """Forty reviews to train on, with named classes."""
    return make_shards([named(row) for row in review_rows[:40]])


@pytest.fixture(scope="session")
def held_out(make_shards: MakeShards, review_rows: list[dict[str, Any]]) -> Path:
    """The other twenty."""
    return make_shards([named(row) for row in review_rows[40:]])


@pytest.fixture(scope="session")
def still_bert(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder without dropout, whose numbers differ between processes and compilers."""
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("still")
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    AutoModel.from_pretrained(tiny_bert, **still).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its class as a name."""
    return {**row, "label": ("bad", "good")[row["label"]]}
