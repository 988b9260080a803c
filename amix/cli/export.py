"""`amix export`: an encoder into an extractor folder."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from amix.cli.output import facts, json_line, json_option, notice
from amix.cli.shell.places import LocalPath, Place, check_places
from amix.cli.shell.steps import step_after
from amix.engine.base.errors import UsageError
from amix.engine.extractor.folder import GRAPHS, Dtype, RelevanceKind
from amix.exporters.options import ExportOptions, Format, RunsOn, Via

if TYPE_CHECKING:
    from amix.engine.extractor.measures import Fidelity


def _layers(text: str) -> list[int] | None:
    if text.strip() == "all":
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"--layers {text}: not understood. Write 'all' or layer numbers with commas: 0,1.")
    return [int(part) for part in parts]


@click.command()
@click.argument("model")
@click.argument("out", type=LocalPath())
@click.option(
    "--layers", default="all", show_default=True, help="Layers whose heads are exported: all, or 0,1."
)
@click.option("--revision", help="Commit, tag or branch of a model on the Hub.")
@click.option(
    "--relevance",
    type=click.Choice(get_args(RelevanceKind)),
    default="received",
    show_default=True,
    help="Attention that a token receives from all tokens, or from the first one.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(get_args(Format)),
    multiple=True,
    default=("onnx",),
    show_default=True,
    help="Graph format to write; may be given several times.",
)
@click.option(
    "--dtype",
    type=click.Choice(get_args(Dtype)),
    default="float32",
    show_default=True,
    help="Precision of weights and attention; int8 changes relevance by several per cent.",
)
@click.option(
    "--device",
    type=click.Choice(get_args(RunsOn)),
    default="cpu",
    show_default=True,
    help="Where the ONNX graph is to be fast. It runs on both.",
)
@click.option("--opset", type=int, help="ONNX operator set.  [default: the exporter's]")
@click.option(
    "--via",
    type=click.Choice(get_args(Via)),
    default="direct",
    show_default=True,
    help="What writes the ONNX graph: torch.onnx, or Hugging Face Optimum. The extractor is the same.",
)
@json_option
def command(
    model: str,
    out: Path,
    layers: str,
    revision: str | None,
    relevance: RelevanceKind,
    formats: tuple[Format, ...],
    dtype: Dtype,
    device: RunsOn,
    opset: int | None,
    via: Via,
    as_json: bool,
) -> None:
    """Freeze the encoder MODEL, a Hub id or a folder, into a relevance extractor in the new folder OUT.

    OUT keeps the encoder only up to the attention of the deepest layer. Every graph is compared with the encoder first.
    """
    options = ExportOptions(
        layers=_layers(layers),
        relevance=relevance,
        formats=list(dict.fromkeys(formats)),
        dtype=dtype,
        device=device,
        opset=opset,
        via=via,
    )
    check_places(Place("MODEL", model, ["model"]), Place("OUT", out, ["extractor"], is_output=True))

    from amix.engine.base.heads import describe
    from amix.exporters.export import export

    notice(f"Loading {model}, capturing its attention and comparing the graph with it ...")
    extractor = export(model, out, options, revision=revision)

    sizes = {name: (out / name).stat().st_size for name in extractor.files}
    parity = {backend: extractor.parity.graphs[backend] for backend in extractor.backends}
    fidelity = extractor.fidelity
    if fidelity is not None and extractor.dtype == "int8":
        notice(
            f"Warning: int8 changes relevance. {_cost(fidelity)}. 'amix info {out}' shows more. "
            "Use float32 where that matters."
        )
    if as_json:
        json_line(
            {
                "extractor": str(out),
                "heads": [list(head) for head in extractor.heads],
                "max_length": extractor.max_length,
                "bytes": sizes,
                "parity": {name: asdict(report) for name, report in parity.items()},
                "fidelity": None if fidelity is None else asdict(fidelity),
                "fingerprint": extractor.fingerprint,
            }
        )
        return
    facts(
        {
            "extractor": out,
            "heads": f"{describe(extractor.heads)} ({len(extractor.heads)} in all)",
            "tokens": f"at most {extractor.max_length}",
            "graphs": ", ".join(
                f"{GRAPHS[name]} ({sizes[GRAPHS[name]] / 1e6:.1f} MB)" for name in extractor.backends
            ),
            "parity": ", ".join(
                f"{name}: largest difference {report.max_abs:.1e}" for name, report in parity.items()
            ),
            **({} if fidelity is None else {"fidelity": _cost(fidelity)}),
            "fingerprint": extractor.fingerprint,
        }
    )
    step_after("extractor", out)


def _cost(fidelity: "Fidelity") -> str:
    error, order = fidelity.relative_l2, fidelity.rank_correlation
    return (
        f"Relative L2 error: median head {error.median:.2%}, worst {error.worst:.2%} ({error.worst_head}); "
        f"rank correlation of the words: median head {order.median:.3f}, worst {order.worst:.3f} "
        f"({order.worst_head})"
    )
