"""The frame of every report: sections in, one HTML file out."""

import importlib.resources
from collections.abc import Sequence
from html import escape

from amix import __version__


def page(title: str, about: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return a page. title, about, headings: plain text.  sections: (heading, HTML); those without are left out."""
    body = "".join(
        f"<section><h2>{escape(heading)}</h2>{html}</section>" for heading, html in sections if html
    )
    style = importlib.resources.files("amix.study.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(about)} amix {escape(__version__)}.</p>\n'
        f"{body}\n</body>\n</html>\n"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; floats with three decimals, None as a dash."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)
