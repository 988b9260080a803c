"""The page on the command line, from the commands themselves."""

import re
from pathlib import Path

import click

from amix.cli import COMMANDS, main
from pages.text import marked

ROOT = Path(__file__).parents[1]
PAGE = "docs/reference/commands.md"
_WIDE = 10_000  # characters in a line: nothing is broken

_INTRO = """# Commands

What each command says with `--help`. Results go to stdout, everything else to stderr. `--json` prints one object as the
last line. Exit codes: 0 done, 1 an error, 2 an option or argument that cannot be right, 130 ended by Ctrl-C.

This page is made from the commands by `make pages`.
"""


def page() -> str:
    """Return the page."""
    names = "\n".join(f"- [amix {name}](#amix-{name}): {says}" for name, says in COMMANDS.items())
    return "\n".join([_INTRO, names, "", *map(_command, COMMANDS)])


def _command(name: str) -> str:
    group = click.Context(main, info_name="amix", **main.context_settings)
    command = main.get_command(group, name)
    assert command is not None
    command._help_option = None  # click keeps the one of the first context, which may have been another
    context = click.Context(
        command, info_name=name, parent=group, terminal_width=_WIDE, max_content_width=_WIDE
    )
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    command.format_help_text(context, formatter)
    command.format_options(context, formatter)
    command.format_epilog(context, formatter)
    usage, *rest = formatter.getvalue().split("\n")
    parts = [f"## amix {name}\n", f"```text\n{usage.removeprefix('Usage: ')}\n```\n"]
    parts += [_line(line) for line in re.sub(r"\n {4,}", "    ", "\n".join(rest)).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _line(line: str) -> str:
    """Return a line of help as Markdown: a heading, an option, or text."""
    if heading := re.fullmatch(r"(\w[\w ]*):", line):
        return f"**{heading[1]}**\n"
    if option := re.fullmatch(r"  (-\S.*?)(?:  +(.*))?", line):
        return f"- `{option[1]}`: {marked(option[2] or '')}"
    return marked(line.strip())


if __name__ == "__main__":
    (ROOT / PAGE).write_text(page(), "utf-8")
