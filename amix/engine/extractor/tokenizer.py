"""Tokenizers as files: what identifies one, and how it is opened without transformers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from amix.engine.base import canonical
from amix.engine.base.errors import ExtractorError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# The roles of tokens without content. Never unk: an unknown word is still a word.
SPECIAL_ROLES = ("cls", "sep", "bos", "eos", "pad", "mask")


def parse_tokenizer(text: str, where: str) -> "Tokenizer":
    """Return the tokenizer written in `text`, with truncation and padding switched off.

    Published files often ship both (MiniLM cuts and pads to 128), which would change ids silently.
    Raises ExtractorError naming `where` when the text is not a tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as problem:  # the Rust side raises a bare Exception
        raise ExtractorError(
            f"{where}: not a tokenizer file ({problem}). Save the encoder's tokenizer again."
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def open_tokenizer(path: Path) -> "Tokenizer":
    """Return the tokenizer of a `tokenizer.json`, with truncation and padding switched off."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ExtractorError(
            f"{path}: cannot be read as a tokenizer ({problem}). Check the file, or build its folder again."
        ) from None
    return parse_tokenizer(text, str(path))


def tokenizer_fingerprint(text: str, where: str = "tokenizer.json") -> str:
    """Return a sha256 over what decides token ids in a `tokenizer.json`: equal hashes, equal ids.

    Truncation and padding are left out, and the text is parsed and written again first, so that it
    does not matter which version of the library wrote it.
    """
    content: dict[str, object] = json.loads(parse_tokenizer(text, where).to_str())
    for volatile in ("truncation", "padding", "version"):
        content.pop(volatile, None)
    return canonical.digest(content)


def special_ids(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """Return the sorted ids of a tokenizer's cls, sep, bos, eos, pad and mask tokens."""
    ids = (getattr(tokenizer, f"{role}_token_id", None) for role in SPECIAL_ROLES)
    return tuple(sorted({token for token in ids if token is not None}))


def padding_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the id to pad batches with: the pad token's, else the eos token's (GPT-2 has no pad token), else 0."""
    ids = (getattr(tokenizer, f"{role}_token_id", None) for role in ("pad", "eos"))
    return next((int(token) for token in ids if token is not None), 0)
