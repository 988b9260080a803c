"""The tokenizer whose ids a cache holds: its file, and what readers must know of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from amix.engine.base.errors import ShardError
from amix.engine.base.lfs import is_pointer, pointer_refusal
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.fields import Fields, count

TOKENIZER = "tokenizer.json"
_MOST_IDS = 1 << 24  # of a vocabulary: a table of it is kept in memory


@dataclass(frozen=True, kw_only=True)
class TokenizerInfo:
    """What the manifest says about the tokenizer.

    sha256: of tokenizer.json.  fingerprint: what the classifier's tokenizer must agree with.
    special_ids: ids that are never content.  pad_id: what batches are padded with.  vocab_size: ids are below this.
    """

    sha256: str
    fingerprint: str
    special_ids: tuple[int, ...]
    pad_id: int
    vocab_size: int

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Return what `fields` of the manifest say. Raises ShardError naming the field that cannot be right."""
        vocab_size = fields.count("vocab_size", _MOST_IDS)
        if vocab_size == 0:
            raise fields.refused("vocab_size")
        special_ids = fields.items("special_ids", count)
        if max(special_ids, default=-1) >= vocab_size:
            raise fields.refused("special_ids")
        return cls(
            sha256=fields.sha256("sha256"),
            fingerprint=fields.sha256("fingerprint"),
            special_ids=special_ids,
            pad_id=fields.count("pad_id"),
            vocab_size=vocab_size,
        )


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """The tokenizer that goes into a cache. data: of tokenizer.json."""

    data: bytes
    info: TokenizerInfo

    @classmethod
    def of(
        cls, data: bytes, *, fingerprint: str, special_ids: Sequence[int], pad_id: int, vocab_size: int
    ) -> Self:
        """Return a tokenizer file with what the manifest says about it."""
        info = TokenizerInfo(
            sha256=sha256_bytes(data),
            fingerprint=fingerprint,
            special_ids=tuple(special_ids),
            pad_id=pad_id,
            vocab_size=vocab_size,
        )
        return cls(data=data, info=info)

    @classmethod
    def of_cache(cls, folder: Path, info: TokenizerInfo) -> Self:
        """Return the tokenizer of the cache in `folder`. Raises ShardError when its file is not the one of `info`."""
        path = folder / TOKENIZER
        if is_pointer(path):
            raise ShardError(pointer_refusal(path))
        data = path.read_bytes() if path.is_file() else b""
        if sha256_bytes(data) != info.sha256:
            raise ShardError(f"{path}: is missing or damaged. Build the folder again.")
        return cls(data=data, info=info)
