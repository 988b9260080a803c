"""Help that lists the options of a command in groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

_REST = "Other options"


class GroupedCommand(click.Command):
    """A command whose help lists its options under headings, in the order given.

    groups: names of parameters by heading. What is in none of them is listed last.  note: a last paragraph.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401  as click declares them
        groups: Mapping[str, Sequence[str]],
        note: str = "",
        **options: Any,  # noqa: ANN401  as click declares them
    ) -> None:
        super().__init__(*args, **options)
        self._groups, self._note = groups, note

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each with its help."""
        records = {param.name: param.get_help_record(ctx) for param in self.get_params(ctx)}
        left = [name for name in records if not any(name in names for names in self._groups.values())]
        for heading, names in {**self._groups, _REST: left}.items():
            lines = [record for name in names if (record := records.get(name)) is not None]
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)
        if self._note:
            formatter.write_paragraph()
            formatter.write_text(self._note)
