"""How much is measured: what a card is given, and the little that shows on a CPU that everything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of a run.

    device: of sessions and training.  jobs: runs at a time on it.
    product: rows and columns of the matrices whose product is timed.  bytes: of what is copied.
    least: seconds that a measurement lasts at least.  turns: the most.
    texts: that sessions and encoders are timed on.  parity_texts: that sessions are compared on.
    budget: rows x tokens of a batch, and scores its rows x tokens^2.
    shard_texts: that go from text to shards.  per_shard: texts of a shard.
    step_texts: that training steps are taken with.  steps: for each method.
    exporters: processes that export at once.
    bert: sizes of the encoder with random weights.  workers: that share the card, beside one.
    whole: everything; else one example of what differs only in names.
    seeds: of the table, the most.  epochs: None = those of each corpus.
    """

    device: Literal["cuda", "cpu"]
    jobs: int
    product: int
    bytes: int
    least: float
    turns: int
    texts: int
    parity_texts: int
    budget: int
    scores: int
    max_length: int
    shard_texts: int
    per_shard: int
    step_texts: int
    steps: int
    exporters: int
    bert: Mapping[str, int]
    workers: Sequence[int]
    whole: bool
    seeds: int
    epochs: int | None


REAL = Scale(
    device="cuda",
    jobs=12,
    product=8192,
    bytes=2**30,
    least=0.4,
    turns=5,
    texts=2048,
    parity_texts=32,
    budget=32_768,
    scores=64 * 512 * 512,
    max_length=512,
    shard_texts=12_288,
    per_shard=1024,
    step_texts=3_000,
    steps=60,
    exporters=12,
    bert={
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
    },
    workers=(2, 4),
    whole=True,
    seeds=10,
    epochs=None,
)

SMOKE = Scale(
    device="cpu",
    jobs=1,
    product=64,
    bytes=2**16,
    least=0.0,
    turns=2,
    texts=8,
    parity_texts=4,
    budget=512,
    scores=2**14,
    max_length=64,
    shard_texts=40,
    per_shard=16,
    step_texts=80,
    steps=1,
    exporters=0,
    bert={
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 12,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    },
    workers=(2,),
    whole=False,
    seeds=1,
    epochs=1,
)
