"""`amix precompute`: a corpus through an extractor into shards."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from amix.cli.output import facts, json_line, notice
from amix.cli.shell.places import LocalPath, Place, check_places, folder_or_url
from amix.cli.shell.steps import next_step, said_how_to_go_on
from amix.cli.sources import reject_lines
from amix.cli.watch import Done, speed, watching
from amix.engine.base.words import counted
from amix.engine.extractor.folder import Backend
from amix.loaders.precompute.options import Scheduler
from amix.loaders.shards.choices import RelevanceDtype

if TYPE_CHECKING:
    pass

_OF_CORPUS = (
    "split",
    "config",
    "revision",
    "text_column",
    "pair_column",
    "label_column",
    "no_labels",
    "many_classes",
    "limit",
    "encoding",
)


def _count(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    """Return the number in `value`, None for `auto`."""
    if value == "auto":
        return None
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"'{value}' is neither a number nor 'auto'.", ctx, param) from None


def _rows_or_share(ctx: click.Context, param: click.Parameter, value: str | None) -> int | float | None:
    """Return a number of rows as an int, and a share such as 2% as a float."""
    if value is None:
        return None
    try:
        return float(value[:-1]) / 100 if value.endswith("%") else int(value)
    except ValueError:
        raise click.BadParameter(
            f"'{value}' is neither a number nor a share such as 2%.", ctx, param
        ) from None


@click.command()
@click.argument("corpus")
@click.argument("out", callback=folder_or_url)
@click.option("--extractor", type=LocalPath(), required=True, help="Folder that 'amix export' wrote.")
@click.option("--split", default="train", show_default=True, help="Split of a Hub data set or folder.")
@click.option("--config", help="Configuration of a Hub data set, or subfolder of a folder.")
@click.option("--revision", help="Commit, tag or branch of a Hub data set.")
@click.option("--text-column", default="text", show_default=True, help="Column with the texts.")
@click.option("--pair-column", help="Column with the second text of each pair.")
@click.option("--label-column", default="label", show_default=True, help="Column with the labels.")
@click.option(
    "--heads",
    default="all",
    show_default=True,
    help="Heads to store, with commas: all, a layer (0) or a single head (0.8). Both count from 0.",
)
@click.option(
    "--dtype",
    type=click.Choice(get_args(RelevanceDtype)),
    default="float16",
    show_default=True,
    help="How relevance is stored.",
)
@click.option(
    "--max-length",
    type=int,
    default=512,
    show_default=True,
    help="Longest text in tokens; longer ones are cut.",
)
@click.option(
    "--workers",
    metavar="N|auto",
    default="auto",
    show_default=True,
    callback=_count,
    help="Number of processes; auto = one per core as far as memory allows, or one per GPU. More share the GPUs.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Device to compute on: cpu, cuda, cuda:N, or several GPUs (cuda:0,cuda:1).",
)
@click.option(
    "--backend",
    type=click.Choice(get_args(Backend)),
    help="Runtime that runs the encoder.  [default: that of the best graph of the extractor]",
)
@click.option(
    "--samples-per-shard", type=int, default=4096, show_default=True, help="Corpus rows of a shard."
)
@click.option(
    "--scheduler",
    type=click.Choice(get_args(Scheduler)),
    default="local",
    show_default=True,
    help="Where the workers are: processes of this machine, or actors on a cluster of Ray.",
)
@click.option(
    "--address", help="Address of the Ray cluster.  [default: the cluster that this machine belongs to]"
)
@click.option("--restart", is_flag=True, help="Remove what an earlier run wrote to OUT, and start anew.")
@click.option("--limit", type=int, metavar="N", help="Read only the first N rows.")
@click.option(
    "--encoding",
    help="Encoding of text files that are not UTF-8 and have no byte order mark, such as windows-1252.",
)
@click.option(
    "--max-rejects",
    metavar="N|P%",
    callback=_rows_or_share,
    help="Stop when more rows than this cannot be used.  [default: 1% of the rows, but at least 10]",
)
@click.option("--no-labels", is_flag=True, help="Do not read labels.")
@click.option(
    "--labels",
    metavar="A,B,...",
    help="Class names in the order of their ids (0, 1, ...), or the numbers in the column that are classes.",
)
@click.option(
    "--labels-from",
    metavar="SHARDS",
    callback=folder_or_url,
    help="Use the class names and ids of another cache.",
)
@click.option(
    "--many-classes", is_flag=True, help="Take more classes than a fifth of the rows, or than 10,000."
)
@click.option("--keep-text", is_flag=True, help="Store each text beside its ids.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object a line: events while it runs, the result as the last line.",
)
def command(corpus: str, out: Path | str, extractor: Path, as_json: bool, **given: Any) -> None:  # noqa: ANN401  one value per option
    """Run every text of CORPUS through an extractor, and write a cache to OUT: token ids, relevance, labels.

    OUT is a folder, or a URL that fsspec can write to (s3://bucket/cache).

    CORPUS is a .jsonl, .json, .csv or .tsv file, each also with .gz or .zst, a .parquet file (globs and URLs, too), a
    folder in Hub layout or from save_to_disk, or a Hub id.
    To go on with a run that was stopped, give the same command again.

    With --json, every line of the output is an object: {"event": "start", ...} when there is work to do,
    {"event": "unit", ...} for each shard as it is published, {"event": "done", ...} when the run has succeeded.
    """
    from amix.engine.base.errors import UsageError
    from amix.loaders.corpus import CorpusOptions
    from amix.loaders.corpus.names import listed
    from amix.loaders.precompute.progress import Tally
    from amix.loaders.precompute.run import PrecomputeOptions, precompute
    from amix.loaders.shards.manifest import REJECTS
    from amix.loaders.shards.output import destination
    from amix.loaders.shards.output.documents import read_rejects
    from amix.loaders.shards.workspace import shards_are_kept
    from amix.loaders.stores import is_remote, shown

    if sum([given["no_labels"], given["labels"] is not None, given["labels_from"] is not None]) > 1:
        raise UsageError("--no-labels, --labels and --labels-from exclude each other. Give one of them.")
    check_places(
        Place("CORPUS", corpus, ["corpus"]),
        Place("OUT", out, ["cache", "unfinished cache"], is_output=True),
        Place("--extractor", extractor, ["extractor"]),
        Place("--labels-from", given["labels_from"], ["cache"]),
    )
    names = given.pop("labels")
    corpus_options = CorpusOptions(
        labels=None if names is None else tuple(name.strip() for name in names.split(",")),
        **{name: given.pop(name) for name in _OF_CORPUS},
    )
    options = PrecomputeOptions(**given)

    began = time.perf_counter()
    tally = Tally()
    name = shown(out)
    with (
        said_how_to_go_on(shards_are_kept(name, options.restart)),
        watching(name, tally, events=as_json, again="; with --restart it begins anew") as watch,
    ):
        manifest = precompute(
            corpus,
            out,
            extractor=extractor,
            corpus_options=corpus_options,
            options=options,
            on_corpus=watch.open,
            on_start=watch.begin,
            on_unit=watch.add,
        )
    seconds = time.perf_counter() - began

    if not tally.units:
        notice(f"{name}: was complete already; nothing was computed.")
    if options.max_length > manifest.max_length and _is_given("max_length"):
        notice(
            f"--max-length {options.max_length}: the encoder takes at most {manifest.max_length} tokens; "
            "texts are cut there."
        )
    if manifest.reject_count:
        rejects = read_rejects(destination(out)) if is_remote(out) else list(manifest.rejects())
        for line in reject_lines(rejects, f"{name}/{REJECTS}", watch.corpus):
            notice(line)
    if manifest.truncated:
        cut = counted(manifest.truncated, "text was", "texts were")
        notice(f"{cut} longer than {manifest.max_length} tokens, and cut there.")
    run = tally.totals()
    if as_json:
        json_line({"event": "done", **asdict(Done.of(manifest, name, run, seconds)), "run": run.as_json()})
        return
    facts(
        {
            "cache": f"{name} ({counted(len(manifest.shards), 'shard')}, {manifest.tar_bytes / 1e6:.1f} MB)",
            "texts": f"{counted(manifest.samples, 'row')} with {counted(manifest.tokens, 'token')}",
            "classes": "none" if manifest.label_names is None else listed(manifest.label_names),
            "left out": counted(manifest.reject_count, "row"),
            "time": f"{seconds:.1f} s" + speed(run),
        }
    )
    if manifest.label_names is None:
        next_step("amix", "inspect", name)
    else:
        next_step("amix", "train", name, "RUN", "--model", _encoder(extractor), "--dev", "SHARDS")


def _encoder(extractor: Path) -> str:
    """Return what the extractor was exported from, which is usually what is fine-tuned."""
    from amix.engine.extractor.folder import read_record

    return read_record(extractor).model


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT
