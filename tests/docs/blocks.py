"""The blocks of code in the documents, and what their pages say of running them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# Run by the driver. `text` is what is shown only: output, data, trees.
LANGUAGES = ("sh", "python", "yaml", "text")

_FENCE = re.compile(r"^( *)```(.*)$")
_NOT_RUN = re.compile(r"<!-- not run( on this page)?: (.+?) -->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page.

    line: of its first line of code.  language: the first word behind the fence.  title: the file that it is, or "".
    not_run: why it is not run; "" for a block that is.
    """

    page: str
    line: int
    language: str
    title: str
    code: str
    not_run: str


def pages() -> list[Path]:
    """Return every page of the site."""
    return sorted(DOCS.rglob("*.md"))


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    return blocks(page.read_text("utf-8"), page.relative_to(ROOT).as_posix())


def blocks(text: str, page: str) -> list[Block]:
    """Return the fenced blocks of a text in Markdown. page: what they are said to come from."""
    found: list[Block] = []
    whole = pending = ""
    inside: list[str] | None = None
    begin, info = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None and (mark := _NOT_RUN.fullmatch(line.strip())):
            if mark[1]:
                whole = mark[2]
            else:
                pending = mark[2]
        elif inside is None and fence:
            inside, begin, info = [], number + 1, fence[2].strip()
        elif inside is not None and fence:
            title = re.search(r'title="([^"]+)"', info)
            found.append(
                Block(
                    page=page,
                    line=begin,
                    language=info.split()[0] if info else "",
                    title=title[1] if title else "",
                    code="\n".join(inside) + "\n",
                    not_run=pending or whole,
                )
            )
            inside, pending = None, ""
        elif inside is not None:
            inside.append(line)
    return found


def indented(text: str) -> list[int]:
    """Return the lines of a text that Markdown takes for code without a fence: they would not be run."""
    found, in_fence, in_list, before = [], False, False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if _FENCE.match(line):
            in_fence = not in_fence
        elif not in_fence:
            in_list = bool(re.match(r"\s*([-*]|\d+\.) ", line)) or (in_list and line[:1] in (" ", ""))
            if line.startswith("    ") and not before.strip() and not in_list:
                found.append(number)
        before = line
    return found
