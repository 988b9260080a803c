"""Whether a text can be used: it must be a string with something visible in it, which UTF-8 can hold."""

import unicodedata

# These are blank although their category does not say so: combining grapheme joiner, Hangul fillers, Khmer inherent
# vowels, Mongolian variation selectors, the Braille blank.
_BLANK = frozenset(
    (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0)
)
_TYPES = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


def flaw_of_text(text: object) -> str | None:
    """Return why `text` cannot be used, as a sentence without its subject, or None if it can."""
    if not isinstance(text, str):
        if text is None:
            return "is missing"
        return f"is {_TYPES.get(type(text), f'a {type(text).__name__}')}, not a string"
    if not text:
        return "is empty"
    if not any(map(_visible, text)):  # ends at the first visible character, mostly the very first
        return "is nothing but white space or invisible characters"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as problem:
            return f"holds half a surrogate pair at character {problem.start + 1}, which is not Unicode text"
    return None


def _visible(character: str) -> bool:
    if unicodedata.category(character)[0] in "ZC":  # separators; controls, zero-width joiners, BOM
        return False
    code = ord(character)
    return not (code in _BLANK or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF)
