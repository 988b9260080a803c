"""How commands speak: results on stdout, everything else on stderr, one JSON object for machines."""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., None])


def json_option(command: _Function) -> _Function:
    """Give a command the flag `--json`, as its argument `as_json`."""
    help_ = "Print one JSON object as the last line of the output."
    return click.option("--json", "as_json", is_flag=True, help=help_)(command)


def notice(message: str) -> None:
    """Tell the user something that is not a result, on stderr. Nobody may be reading there, which stops nothing."""
    with contextlib.suppress(OSError):
        click.echo(message, err=True)


def json_line(value: Mapping[str, object]) -> None:
    """Print `value` as one line of JSON on stdout. NaN and infinities, which JSON lacks, become null."""
    line = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        is_plain = len(line.splitlines()) == 1  # some characters end a line for Python, though not for others
    except UnicodeEncodeError:
        is_plain = False
    click.echo(line if is_plain else json.dumps(_finite(value), allow_nan=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their column names on stdout; numbers aligned right, everything else left.

    Floats are shown with 4 decimals, small ones with 3 digits, None as a dash. Raises ValueError when a row has
    another width.
    """
    cells = [[_cell(value) for value in row] for row in rows]
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


def number(value: float) -> str:
    """Return a number with as many digits as a reader needs: 0.9431, 5e-05, 12.3, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cell(value: object) -> str:
    if isinstance(value, float):  # the points of a column stand below each other, but no number may become 0
        return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"
    return _shown(value)


def _shown(value: object) -> str:
    from amix.loaders.corpus.names import listed

    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return number(value)
        case Mapping():
            pairs = [
                f"{name}: {each}" if isinstance(each, str) else f"{name} {_shown(each)}"
                for name, each in value.items()
            ]
            return listed(pairs) or "none"
        case list() | tuple():
            return listed([_shown(each) for each in value]) or "none"
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
