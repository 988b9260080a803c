"""What --smoke runs on: tiny encoders with random weights and made-up texts, laid out as they come to a GPU machine."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

from tests.tinybert import WORDS, write_tokenizer

WIDTH, LAYERS, HEADS, POSITIONS = 24, 1, 12, 64  # twelve heads a layer, so that grids may name head 8
TRAIN, OTHER = 110, 12  # rows


def write_inputs(gpu: Path) -> None:
    """Write encoders and corpora to `gpu`, if they are not there."""
    if (gpu / "whole").exists():
        return
    _write_encoders(gpu)
    data = gpu / "data"
    for corpus, part in itertools.product(("mr", "sst2"), ("train", "validation", "test")):
        rows = _rows(f"{corpus} {part}", TRAIN if part == "train" else OTHER, words=8)
        path = data / corpus / f"{part}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _write_imdb(data)
    (gpu / "whole").touch()


def _rows(seed: str, count: int, words: int) -> list[dict[str, object]]:
    rng = random.Random(seed)
    return [
        {"text": " ".join(rng.choices(WORDS, k=rng.randint(words // 2, words))), "label": number % 2}
        for number in range(count)
    ]


def _write_imdb(data: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (data / "imdb").mkdir(parents=True, exist_ok=True)
    for part, rows in {"train": 40, "test": 48}.items():
        table = pa.Table.from_pylist(_rows(f"imdb {part}", rows, words=60))
        pq.write_table(table, data / "imdb" / f"{part}-00000-of-00001.parquet")
    (data / "imdb_validation_rows.json").write_text(json.dumps(list(range(0, 40, 5))))


def _write_encoders(gpu: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

    sizes: dict[str, Any] = {  # of both configurations
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 32,
        "initializer_range": 0.5,  # wide, so that attention is far from uniform
    }
    for name in ("minilm", "mpnet"):
        size = write_tokenizer(gpu / name, POSITIONS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = (
                BertModel(BertConfig(vocab_size=size, max_position_embeddings=POSITIONS, **sizes))
                if name == "minilm"
                # It counts positions from its padding id + 1.
                else MPNetModel(MPNetConfig(vocab_size=size, max_position_embeddings=POSITIONS + 2, **sizes))
            )
        network.save_pretrained(gpu / name)
