"""Tokens as people read them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def token_texts(tokenizer: "Tokenizer", ids: Iterable[int]) -> tuple[str, ...]:
    """Return tokens as the tokenizer writes them; `[ID]` for an id that it does not know."""
    return tuple(tokenizer.id_to_token(number) or f"[{number}]" for number in ids)


def readable(token: str) -> tuple[str, bool]:
    """Return a token without its mark, and whether it continues the word before it.

    `##` continues a word; `Ġ` and `▁` begin one.
    """
    if token.startswith("##") and len(token) > 2:
        return token[2:], True
    if token[:1] in ("Ġ", "▁") and len(token) > 1:
        return token[1:], False
    return token, False
