"""`amix inspect`: a text's tokens shaded by relevance, in the terminal or as a page, alone or mixed with another."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amix.cli.output import json_line, json_option, notice, table
from amix.cli.shell.places import Place, check_places
from amix.cli.shell.steps import next_step
from amix.train.options.config import TrainConfig, rules

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amix.study.attention.inspection import InspectedMix, InspectedText, Inspector

# Backgrounds of the terminal's 256 colours, from none to strong; black can be read on all of them.
_SHADES = (None, 230, 222, 215, 208, 202)


def _mixing_option(
    name: str,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # Any: whatever click decorates
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
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page to this file, on which you can try heads and mix the text with a second one.",
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
    from amix.engine.mixing.attentionmix import AttentionMix
    from amix.study.attention.inspection import Inspector

    check_places(Place("SHARDS", shards, ["cache"]))
    inspector = Inspector(shards)
    text = inspector.text(inspector.first_row() if row is None else row)
    head = head or inspector.default_head()
    relevance = inspector.relevance(text, head)
    mixer = AttentionMix(**mixing)
    other = None if other_row is None else inspector.text(other_row)

    if html is not None:
        from amix.study.report.texts import write_page

        partner = other or inspector.text(inspector.partner_row(text.row))
        write_page(html, inspector, text, partner, head, mixer)
        notice(f"{html}: open it in a browser; it needs no network.")
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
    if as_json:
        json_line(found)
        return
    _show_text(text, relevance, head)
    if other is not None and mix is not None:
        _show_mix(inspector, text, other, mix)
    if html is None:
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
        table(["position", "token", "relevance"], rows)
        return
    from amix.study.attention.inspection import shown_tokens

    line = ""
    for token in shown_tokens(text, relevance):
        line += "" if token.is_glued or not line else " "
        if token.share is None:  # special tokens receive most attention, and mixing leaves them out
            line += click.style(token.word, dim=True)
            continue
        shade = _SHADES[min(round(token.share * (len(_SHADES) - 1)), len(_SHADES) - 1)]
        line += token.word if shade is None else click.style(token.word, fg=16, bg=shade)
    click.echo(line, color=True)


def _show_mix(
    inspector: "Inspector", text: "InspectedText", other: "InspectedText", mix: "InspectedMix"
) -> None:
    def token(which: "InspectedText", place: int) -> str | None:
        return which.tokens[place] if place < len(which.tokens) else None

    click.echo(f"\nmixed with row {other.row}, {_label_text(other.label)}")
    rows = [
        [
            place,
            token(text, place),
            float(mix.own[place]),
            token(other, place),
            float(mix.other[place]),
            float(ratio),
            _heavier(token(text, place), token(other, place), float(ratio)),
        ]
        for place, ratio in enumerate(mix.ratio)
    ]
    table(["position", "token", "relevance", "other", "relevance", "ratio", "larger part"], rows)
    labels = inspector.soft_label(text, other, mix.label_weight)
    shown = ", ".join(f"{name} {weight:.4f}" for name, weight in labels.items())
    click.echo(f"label weight {mix.label_weight:.4f}" + (f": {shown}" if shown else ""))


def _heavier(own: str | None, other: str | None, ratio: float) -> str | None:
    """Return the token that has the larger part in the mix."""
    if ratio == 0.5 and own is not None and other is not None:
        return "both"
    return own if ratio > 0.5 else other
