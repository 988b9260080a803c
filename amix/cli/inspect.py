"""`amix inspect`: a text's tokens shaded by relevance, in the terminal or as a page, alone or mixed with another."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amix.cli.output import json_line, json_option, table
from amix.cli.shell.places import LocalPath, Place, check_places
from amix.cli.shell.steps import next_step
from amix.train.options.config import TrainConfig, rules

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amix.study.attention.inspection import InspectedMix, InspectedText, Inspector

# Backgrounds of the terminal's 256 colours, from none to strong; black can be read on all of them.
_SHADES = (None, 230, 222, 215, 208, 202)


# Any: whatever click decorates.
def _mixing_option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return an option of attentionmix, as `amix train` has it."""
    rule, default = rules()[name], getattr(TrainConfig(), name)
    kind = click.Choice(rule.choices) if rule.choices else click.FloatRange(rule.note.low, rule.note.high)
    return click.option(
        f"--{name.replace('_', '-')}", type=kind, default=default, show_default=True, help=rule.text
    )


@click.command()
@click.argument("shards")
@click.option(
    "--row",
    type=click.IntRange(min=0),
    help="Row of the corpus, counted from 0.  [default: the first one kept]",
)
@click.option("--head", help="Head spec: 0.8, 0.mean, mean, or 0.8,1.3.  [default: 0.mean, or mean]")
@click.option("--with", "other_row", type=click.IntRange(min=0), help="A second row to mix it with.")
@_mixing_option("label_weight")
@_mixing_option("special")
@_mixing_option("strength")
@_mixing_option("sharpness")
@click.option(
    "--html",
    type=LocalPath(dir_okay=False),
    help="Write a page to this file instead, on which you can try heads and mix the text with others.",
)
@json_option
def command(
    shards: str,
    row: int | None,
    head: str | None,
    other_row: int | None,
    html: Path | None,
    as_json: bool,
    **mixing: Any,  # noqa: ANN401  options of AttentionMix, each of its own type
) -> None:
    """Show a text of SHARDS token by token: how much attention each receives, and how it mixes with another text."""
    from amix.engine.base.place import require_writable_file
    from amix.engine.mixing.attentionmix import AttentionMix
    from amix.study.attention.inspection import Inspector

    check_places(Place("SHARDS", shards, ["cache"]))
    if html is not None:
        require_writable_file(html)
    inspector = Inspector(shards)
    text = inspector.text(inspector.first_row() if row is None else row, "--row")
    head = head or inspector.default_head()
    relevance = inspector.relevance(text, head)
    mixer = AttentionMix(**mixing)
    other = None if other_row is None else inspector.text(other_row, "--with")

    found: dict[str, object] = {"head": head, **_described(text, relevance)}
    mix = None
    if other is not None:
        mix = inspector.mix(text, other, head, mixer)
        found["with"] = {
            **_described(other, inspector.relevance(other, head)),
            "ratio": [float(value) for value in mix.ratio],
            "label_weight": mix.label_weight,
            "labels": inspector.soft_label(text, other, mix.label_weight),
        }
    if html is not None:
        from amix.study.report.texts import write_page

        rows = inspector.partner_rows(text.row)
        partners = [inspector.text(each) for each in rows if other is None or each != other.row]
        write_page(html, inspector.manifest, text, [other, *partners] if other else partners, head, mixer)
        found["page"] = str(html)
    if as_json:
        json_line(found)
        return
    if html is not None:
        click.echo(f"{html}: open it in a browser; it needs no network.")
        return
    _show_text(text, relevance, head)
    if other is not None and mix is not None:
        _show_mix(inspector, text, other, mix, mixer.special)
    next_step("amix", "inspect", shards, "--row", text.row, "--html", "PAGE.html")


def _described(text: "InspectedText", relevance: "NDArray[np.float32]") -> dict[str, object]:
    return {
        "row": text.row,
        "label": text.label,
        "tokens": [
            {"token": token, "content": bool(inside), "relevance": float(value)}
            for token, inside, value in zip(text.tokens, text.content, relevance, strict=True)
        ],
    }


def _label_text(label: str | dict[str, float] | None) -> str:
    if label is None:
        return "no label"
    if isinstance(label, str):
        return f"label {label}"
    return "labels " + (", ".join(f"{name} {weight:g}" for name, weight in label.items()) or "none")


def _show_text(text: "InspectedText", relevance: "NDArray[np.float32]", head: str) -> None:
    click.echo(
        f"row {text.row}, {_label_text(text.label)}; head {head}: "
        f"{len(text.tokens)} tokens, which receive {float(relevance.sum()):.2f} in all"
    )
    colour = click.get_current_context().color
    if not (sys.stdout.isatty() if colour is None else colour):
        rows = [
            [number, token, float(value)]
            for number, (token, value) in enumerate(zip(text.tokens, relevance, strict=True))
        ]
        table(["position", "token", "received"], rows)
        return
    from amix.study.attention.inspection import FULL, shown_tokens

    line = ""
    for token in shown_tokens(text, relevance):
        line += "" if token.is_glued or not line else " "
        if token.share is None:  # special tokens receive most attention, and mixing leaves them out
            line += click.style(token.word, dim=True)
            continue
        line += _shaded(token.word, token.share)
    click.echo(line, color=True)
    steps = "".join(_shaded("  ", share / (len(_SHADES) - 1)) for share in range(len(_SHADES)))
    click.echo(f"none {steps} {FULL:g} times the average word, and more", color=True)


def _shaded(word: str, share: float) -> str:
    shade = _SHADES[min(round(share * (len(_SHADES) - 1)), len(_SHADES) - 1)]
    return word if shade is None else click.style(word, fg=16, bg=shade)


def _show_mix(
    inspector: "Inspector", text: "InspectedText", other: "InspectedText", mix: "InspectedMix", special: str
) -> None:
    def token(which: "InspectedText", place: int) -> str | None:
        return which.tokens[place] if place < len(which.tokens) else None

    click.echo(f"\nmixed with row {other.row}, {_label_text(other.label)}")
    if special == "drop":
        click.echo(
            "counts: what a token received, without special tokens, and with a mean of 1 over the words"
        )
    rows = [
        [
            place,
            token(text, place),
            float(mix.own[place]),
            token(other, place),
            float(mix.other[place]),
            float(ratio),
            float(1 - ratio),
        ]
        for place, ratio in enumerate(mix.ratio)
    ]
    table(["position", "token", "counts", "other", "counts", "weight", "other's weight"], rows)
    labels = inspector.soft_label(text, other, mix.label_weight)
    shown = ", ".join(f"{name} {weight:.4f}" for name, weight in labels.items())
    click.echo(f"label weight {mix.label_weight:.4f}" + (f": {shown}" if shown else ""))
