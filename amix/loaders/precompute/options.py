"""How a corpus is turned into shards, and what these options can be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from amix.engine.base.errors import UsageError
from amix.engine.extractor.folder import Backend
from amix.loaders.shards.choices import RelevanceDtype

Scheduler = Literal["local", "ray"]

SHORTEST = 8  # tokens; with fewer, special tokens would be all that is left of a text


@dataclass(frozen=True, kw_only=True)
class PrecomputeOptions:
    """How a corpus is turned into shards.

    heads: which heads to store: `all`, layers (`0`), heads (`0.8,1.3`).
    dtype: of the stored relevance; uint8 is a square-root code.
    max_length: the most tokens of a text, with special ones; never more than the encoder takes.
    device: `cpu`, `cuda:N`, or several GPUs with commas, which the workers take in turn.
    workers: processes; None = one per core as far as memory allows, or one per GPU. More than that share the GPUs.
    scheduler: `local`: workers are processes here; `ray`: actors on a cluster of Ray.  address: of the cluster; None =
        the one that this machine belongs to.
    samples_per_shard: corpus rows of a shard.  restart: remove what an earlier run wrote.
    max_rejects: unusable rows that are tolerated: a number, or a share as a float; None is 1 %, but at least 10 rows.
    labels_from: another cache, a folder or a URL, whose class names and numbers to use.
    keep_text: store texts beside their ids.
    """

    heads: str = "all"
    dtype: RelevanceDtype = "float16"
    max_length: int = 512
    workers: int | None = None
    scheduler: Scheduler = "local"
    address: str | None = None
    device: str = "cpu"
    backend: Backend | None = None
    samples_per_shard: int = 4096
    restart: bool = False
    max_rejects: int | float | None = None
    labels_from: Path | str | None = None
    keep_text: bool = False

    def __post_init__(self) -> None:
        dtypes = get_args(RelevanceDtype)
        if self.dtype not in dtypes:
            raise UsageError(f"--dtype is '{self.dtype}'; it must be one of: {', '.join(dtypes)}.")
        if self.address is not None and self.scheduler == "local":
            raise UsageError("--address is for --scheduler ray, which is not given.")
        if self.max_length < SHORTEST:
            raise UsageError(f"--max-length is {self.max_length}; it must be at least {SHORTEST} tokens.")
        for name in ("samples_per_shard", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
        if isinstance(self.max_rejects, float) and not 0 <= self.max_rejects <= 1:
            raise UsageError(f"--max-rejects is {self.max_rejects:.4%}; a share is between 0% and 100%.")
        if self.max_rejects is not None and self.max_rejects < 0:
            raise UsageError(f"--max-rejects is {self.max_rejects}; it cannot be negative.")
