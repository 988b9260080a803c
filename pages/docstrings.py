"""What the reference makes of our docstrings: lines `name: meaning.` become a list, which mkdocstrings then renders."""

import re

import griffe

# `name: ` or `name, other: ` at the begin of a line, or after the two spaces that part two of them in one line.
_ENTRY = re.compile(r"(?:^|(?<=\.  )|(?<=\]  ))(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*): (?=\S)", re.MULTILINE)


class Lists(griffe.Extension):  # type: ignore[misc]  # of a package that is not in the main environment
    """Rewrites every docstring that griffe reads."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = as_lists(obj.docstring.value)


def as_lists(text: str) -> str:
    """Return a docstring in which every paragraph of entries is a list in Markdown."""
    return "\n\n".join(_as_list(paragraph) for paragraph in text.split("\n\n"))


def _as_list(paragraph: str) -> str:
    lines: list[str] = []
    is_entry = False
    for line in paragraph.split("\n"):
        parts = _ENTRY.split(line)
        if len(parts) > 1:
            before, *entries = parts
            if before.strip():
                lines.append(f"  {before.strip()}" if is_entry else before)
            if not is_entry:
                lines.append("")
            names, meanings = entries[::2], entries[1::2]
            shown = [", ".join(f"`{name}`" for name in each.split(", ")) for each in names]
            lines += [f"- {name}: {meaning.strip()}" for name, meaning in zip(shown, meanings, strict=True)]
            is_entry = True
        elif is_entry and line[:1] == " ":
            lines.append(f"  {line.strip()}")
        else:
            if is_entry:
                lines.append("")
            lines.append(line)
            is_entry = False
    return "\n".join(lines).strip("\n")
