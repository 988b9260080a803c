"""Help in groups."""

import re

import click
from click.testing import CliRunner

from amix.cli import main


def test_every_option_stands_once_below_a_heading() -> None:
    for name in ("train", "compare", "select"):
        command = main.get_command(click.Context(main), name)
        assert command is not None
        text = CliRunner().invoke(main, [name, "--help"], max_content_width=200).stdout
        assert "Other options" not in text, "give the new option a heading in amix/cli/shell/help.py"
        shown = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
        for option in shown:
            assert len(re.findall(rf"\n  {option.opts[0]}\b(?!-)", text)) == 1, option.opts
