"""The frame of every page: sections in, one HTML file out. It needs no network."""

import importlib.resources
import re
from collections.abc import Iterable, Sequence
from html import escape

from amix import __version__

_MANY = 6  # sections, above which there are links to them


class Html(str):
    """Text that is HTML already. Everything else is escaped."""

    __slots__ = ()


def page(title: str, about: str, sections: Sequence[tuple[str, str]], lead: str = "") -> str:
    """Return a page.

    title, about: plain text.  sections: (heading in plain text, HTML); those without HTML are left out.
    lead: HTML that stands before them.
    """
    shown = [(heading, html) for heading, html in sections if html]
    links = "".join(
        f'<a href="#s{number}">{escape(heading)}</a>' for number, (heading, _) in enumerate(shown)
    )
    nav = f'<nav aria-label="Sections">{links}</nav>' if len(shown) > _MANY else ""
    body = "".join(
        f'<section aria-labelledby="s{number}"><h2 id="s{number}">{escape(heading)}</h2>{html}</section>'
        for number, (heading, html) in enumerate(shown)
    )
    return document(
        title,
        f'<header><h1>{escape(title)}</h1><p class="soft">{escape(about)} amix {escape(__version__)}.</p>{lead}{nav}'
        f"</header>\n<main>{body}</main>",
        asset("page.css"),
    )


def document(title: str, body: str, style: str) -> str:
    """Return an HTML document. title: plain text.  body: HTML.  style: CSS."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def asset(name: str) -> str:
    """Return the text of a file beside this module."""
    return importlib.resources.files("amix.study.report").joinpath(name).read_text(encoding="utf-8")


def paragraph(text: str, kind: str = "") -> Html:
    """Return plain text as a paragraph. kind: `soft`, `lead` or `note`."""
    html = escape(text).replace(" %", "\u00a0%")  # no line begins with a percent sign
    html = re.sub(r"--[a-z][\w-]*", r"<code>\g<0></code>", html)  # or breaks in an option
    return Html(f'<p class="{kind}">{html}</p>' if kind else f"<p>{html}</p>")


def explanations(sentences: Iterable[str]) -> Html:
    """Return plain sentences as a list."""
    items = "".join(f"<li>{escape(each)}</li>" for each in sentences)
    return Html(f'<ul class="explained">{items}</ul>') if items else Html()


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"
