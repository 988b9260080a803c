"""Sentences of amix as Markdown."""

import re

# Options, and what stands in quotes as something to type.
_CODE = re.compile(r"(?<![\w-])(?:--[a-z][\w-]*|'(?:amix|git|pip|python)\b[^']*')")


def marked(text: str) -> str:
    """Return a plain sentence as Markdown: options and commands as code, everything else as it is."""
    shown, end = [], 0
    for found in _CODE.finditer(text):
        code = found[0].strip("'")
        shown += [_escaped(text[end : found.start()]), f"`{code}`"]
        end = found.end()
    return "".join([*shown, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>\[\]`|])", r"\\\1", text)
