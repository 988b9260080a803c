"""What the documents of a shard folder must say: a file from elsewhere may be sealed well and still be nonsense."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from amix.engine.base.errors import ShardError
from amix.loaders.shards.layout import RELEVANCE_DTYPES

FILE_KINDS = ("tar", "index", "crc")
_SHARD_NAME = re.compile(r"shard-\d{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_IDS = 1 << 24  # of a vocabulary: a table of it is kept in memory
_MOST_TOKENS = 1 << 20  # of a text
_LAYOUT = {"heads", "dtype", "wide_ids", "token_types", "classes", "cls", "text"}

Check = Callable[[Any], bool]


def check_manifest(fields: Mapping[str, Any], where: str) -> None:
    """Raise ShardError naming `where` and the field unless a manifest can be used without further checks."""
    wanted: dict[str, Check] = {
        **dict.fromkeys(("samples", "tokens", "bytes", "rejects", "truncated"), _is_count),
        "relevance": lambda value: isinstance(value, str),
        "heads": lambda value: _is_list(value, _is_pair),
        "layout": lambda value: isinstance(value, dict) and value.keys() == _LAYOUT,
        "layout.heads": lambda value: _is_count(value) and value == len(fields["heads"]),
        "layout.dtype": lambda value: isinstance(value, str) and value in RELEVANCE_DTYPES,
        **{f"layout.{name}": _is_flag for name in ("wide_ids", "token_types", "cls", "text")},
        "max_length": lambda value: _is_count(value) and value <= _MOST_TOKENS,
        "label_names": lambda value: value is None or _is_list(value, lambda name: isinstance(name, str)),
        "layout.classes": lambda value: _is_count(value) and value in (0, len(fields["label_names"] or ())),
        "plan": lambda value: isinstance(value, dict),
        "tokenizer.fingerprint": _is_sha256,
        "tokenizer.sha256": _is_sha256,
        "tokenizer.vocab_size": lambda value: _is_count(value) and 0 < value <= _MOST_IDS,
        "tokenizer.pad_id": lambda value: _is_count(value),
        "tokenizer.special_ids": lambda value: _is_list(
            value, lambda number: _is_count(number) and number < fields["tokenizer"]["vocab_size"]
        ),
        "shards": lambda value: _is_list(value, lambda entry: isinstance(entry, dict)),
    }
    _require(fields, wanted, where)
    entry: dict[str, Check] = {
        "name": lambda value: isinstance(value, str) and bool(_SHARD_NAME.fullmatch(value)),
        "rows": _is_pair,
        **dict.fromkeys(("samples", "tokens", "bytes"), _is_count),
        "record_sha256": _is_sha256,
    }
    for number, fields_of_shard in enumerate(fields["shards"]):
        _require(fields_of_shard, entry, f"{where}: shard {number}")


def check_record(record: Mapping[str, Any], entry: Mapping[str, Any], where: str) -> None:
    """Raise ShardError unless a record is about the shard that the manifest's `entry` names, and says what it must."""
    wanted: dict[str, Check] = {
        **{name: _equals(entry[name]) for name in ("rows", "samples", "tokens")},
        "rejects": lambda value: _is_list(
            value, lambda pair: isinstance(pair, list) and len(pair) == 2 and _is_count(pair[0])
        ),
        "plan": lambda value: isinstance(value, dict),
    }
    ends = {"tar": "tar", "index": "index.npy", "crc": "crc.npy"}
    for kind in FILE_KINDS:
        wanted |= {
            f"files.{kind}.name": _equals(f"{entry['name']}.{ends[kind]}"),
            f"files.{kind}.bytes": _is_count,
            f"files.{kind}.sha256": _is_sha256,
        }
    _require(record, wanted, where)


def _require(fields: Mapping[str, Any], wanted: Mapping[str, Check], where: str) -> None:
    for path, is_fine in wanted.items():
        value: Any = fields
        for name in path.split("."):
            value = value.get(name, KeyError) if isinstance(value, dict) else KeyError
        if value is KeyError or not is_fine(value):
            seen = "is missing" if value is KeyError else f"is {str(value)[:60]!r}"
            raise ShardError(
                f"{where}: its {path} {seen}, which 'amix precompute' never writes. Do not use this folder."
            )


def _equals(wanted: object) -> Check:
    return lambda value: value == wanted


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 60


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def _is_list(value: object, is_fine: Check) -> bool:
    return isinstance(value, list) and all(map(is_fine, value))


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))
