"""How commands speak: results on stdout, everything else on stderr, one JSON object for machines."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., None])


def json_option(command: _Function) -> _Function:
    """Give a command the flag `--json`, as its argument `as_json`."""
    help_ = "Print one JSON object as the last line of the output."
    return click.option("--json", "as_json", is_flag=True, help=help_)(command)


def notice(message: str) -> None:
    """Tell the user something that is not a result, on stderr."""
    click.echo(message, err=True)


def json_line(value: Mapping[str, object]) -> None:
    """Print `value` as one line of JSON on stdout. NaN and infinities, which JSON lacks, become null."""
    click.echo(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their column names on stdout; numbers aligned right, everything else left.

    Floats are shown with 4 decimals, None as a dash. Raises ValueError when a row has another width.
    """
    cells = [[_shown(value) for value in row] for row in rows]
    if any(len(row) != len(columns) for row in cells):
        raise ValueError(f"every row needs {len(columns)} cells: {', '.join(columns)}")
    is_number = [
        bool(rows) and all(value is None or isinstance(value, int | float) for value in column)
        for column in (zip(*rows, strict=True) if rows else [()] * len(columns))
    ]
    lines = [list(columns), *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def facts(pairs: Mapping[str, object]) -> None:
    """Print names and values on stdout, one pair a line."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        click.echo(f"{name.ljust(width)}  {_shown(value)}".rstrip())


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4f}"
        case _:
            return str(value)


def _finite(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
