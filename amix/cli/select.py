"""`amix select`: which head to mix by."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amix.cli.output import json_line, json_option, notice, table
from amix.cli.shell.help import GroupedCommand
from amix.cli.shell.places import LocalPath, Place, check_places
from amix.cli.shell.progress import Progress
from amix.cli.shell.steps import next_step, said_how_to_go_on
from amix.cli.train import config_options, jobs_option
from amix.engine.base.errors import TrainError, UsageError
from amix.engine.base.words import counted
from amix.study.compare.grid import OWN

if TYPE_CHECKING:
    from amix.loaders.shards.manifest import Manifest
    from amix.study.attention.profile import ProfiledHead
    from amix.train.heads.proxy import RankedHead


@click.command(
    cls=GroupedCommand,
    groups={
        "Ranking": ("model", "heads", "samples", "subset_seed"),
        "Ranking by training": ("budget", "dev", "jobs"),
        "Output": ("as_json", "debug", "help"),
    },
    note="With --budget, options of training hold for every run: --epochs, --lr, --p and so on, as 'amix train --help' "
    "lists them.",
)
@click.argument("shards")
@click.argument("out", type=LocalPath())
@click.option("--model", required=True, help="Hub id or folder of the encoder that will be fine-tuned.")
@click.option("--samples", type=click.IntRange(min=1), help="Rank on this many texts, drawn at random.")
@click.option(
    "--subset-seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed for drawing the texts.",
)
@click.option("--budget", type=click.IntRange(min=1), help="Rank by training instead, with this many runs.")
@click.option(
    "--heads",
    help="Candidates, heads or means with commas. A layer (0) or all stands for each of its heads.  "
    "[default: every head and mean]",
)
@click.option("--dev", help="With --budget: the shards on which heads are compared.")
@jobs_option("With --budget: how many runs to train at once")
@config_options("method", "head", *OWN, hidden=True)
@json_option
def command(
    shards: str,
    out: Path,
    model: str,
    samples: int | None,
    subset_seed: int,
    budget: int | None,
    heads: str | None,
    dev: str | None,
    jobs: int | None,
    as_json: bool,
    **flags: Any,  # noqa: ANN401  options of training, each of its own type
) -> None:
    """Rank the heads of the cache SHARDS for its labels, and write the ranking to OUT.

    Without --budget no classifier is trained: a head scores well if the words that it attends to separate the classes
    on texts held out. That takes seconds to minutes. With --budget classifiers are trained with the candidates, in
    rounds that each keep the better half. `amix train --head auto` takes the best of the ranking without --budget.
    """
    from amix.engine.base.heads import candidate_specs
    from amix.engine.base.place import make_folder, require_writable
    from amix.loaders.shards.manifest import Manifest
    from amix.loaders.stores import is_remote
    from amix.study.attention.ranking import RANKING, HeadRanking
    from amix.train.heads.proxy import candidates, rank_heads
    from amix.train.model.classifier import load_embeddings

    require_writable(out)
    if is_remote(shards):
        raise UsageError(f"{shards}: heads are ranked on a local cache. Download it first.")
    _require_fitting(flags, budget, dev, jobs, subset_seed)
    check_places(
        Place("SHARDS", shards, ["cache"]),
        Place("OUT", out, ["ranking", "comparison"], is_output=True),
        Place("--model", model, ["model"]),
        Place("--dev", dev, ["cache"]),
    )
    manifest = Manifest.read(Path(shards))
    specs = candidates(manifest.heads)
    if heads is not None:
        specs = [str(spec) for spec in candidate_specs(heads, manifest.heads, shards)]
    if budget is None:
        from amix.train.run.data.subset import draw_subset

        numbers = draw_subset(manifest.samples, samples, subset_seed, Path(shards))
        ranked = rank_heads(shards, load_embeddings(model, manifest), numbers, specs=specs)
        ranking = HeadRanking(shards=manifest.sha256, model=model, samples=samples, heads=ranked)
        meaning = _meaning(ranked)
    else:
        profile = _profile(shards, out, model, specs, samples, budget, dev, jobs, flags)
        ranking = HeadRanking(
            shards=manifest.sha256,
            model=model,
            samples=samples,
            heads=profile,
            agreement=_agreement(profile, manifest, model, samples),
        )
        meaning = [_MEANING_OF_PROFILE]
    make_folder(out)
    ranking.write(out)
    best = ranking.heads[0].head
    if as_json:
        json_line({"best": best, **ranking.as_dict()})
        return
    columns = ranking.columns()
    table(columns, [[getattr(each, column) for column in columns] for each in ranking.heads])
    notice(f"{out / RANKING}: the whole ranking.")
    for line in meaning:
        notice(line)
    if ranking.agreement is not None:
        notice(f"Rank correlation with the ranking that trains no classifier: {ranking.agreement:.2f}.")
    next_step("amix", "train", shards, "RUN", "--model", model, "--head", best, "--dev", dev or "SHARDS")


_MEANING_OF_PROFILE = (
    "Heads were compared by NLL on --dev. One that was dropped early had few seeds, so its place is noisy."
)


def _meaning(ranked: Sequence["RankedHead"]) -> list[str]:
    """Return what the ranking without training says, and what it does not."""
    first, *others = ranked
    lines = [
        "separation: the share of the labels' variance that the words which the head attends to explain on held-out "
        "texts; 1 = all, 0 = none. noise: a head this much behind the first cannot be told from it.",
    ]
    tied = [each for each in others if each.is_told_from(first) is False]
    if tied:
        lines.append(
            f"{len(tied)} of the other {counted(len(others), 'head')} cannot be told from the first: they are behind "
            "it by less than noise."
        )
    return [
        *lines,
        "No classifier was trained. Where it was, training agreed with this ranking on questions (rank correlation "
        "0.64), but not on movie reviews (0.03 and -0.32), and no head was shown to be better than 0.mean "
        "(docs/results.md). --budget ranks by training.",
    ]


def _require_fitting(
    flags: Mapping[str, object], budget: int | None, dev: str | None, jobs: int | None, subset_seed: int
) -> None:
    """Raise UsageError for an option that has no effect with, or without, `--budget`."""
    if budget is not None:
        if subset_seed:
            raise UsageError(
                "--subset-seed has no effect with --budget: the seed of a run draws its texts. Leave it out."
            )
        return
    given = [name.replace("_", "-") for name, value in flags.items() if value is not None]
    given += [name for name, value in (("dev", dev is not None), ("jobs", jobs is not None)) if value]
    if given:
        raise UsageError(f"--{given[0]} is for training; it needs --budget. Add that, or leave it out.")


def _profile(
    shards: str,
    out: Path,
    model: str,
    specs: Sequence[str],
    samples: int | None,
    budget: int,
    dev: str | None,
    jobs: int | None,
    flags: Mapping[str, object],
) -> list["ProfiledHead"]:
    """Return the heads ranked by training, with a bar that counts the runs."""
    from amix.study.attention.profile import profile_heads
    from amix.study.compare.grid import Corpus
    from amix.study.compare.runner import runs_are_kept
    from amix.train.options.file import given_options

    with said_how_to_go_on(partial(runs_are_kept, out)), Progress("select", "runs", silence=0) as progress:
        return profile_heads(
            model,
            Corpus(train=shards, dev=dev),
            specs,
            out,
            budget=budget,
            samples=samples,
            options=given_options(flags),
            jobs=jobs,
            on_outcome=lambda outcome: progress.advance(outcome.cell.method),
        )


def _agreement(
    profile: Sequence["ProfiledHead"], manifest: "Manifest", model: str, samples: int | None
) -> float | None:
    """Return the rank correlation with the ranking without training, None where it cannot be computed."""
    from amix.study.attention.profile import agreement
    from amix.train.model.classifier import load_embeddings

    if len(profile) < 2:
        return None
    try:
        return agreement(profile, manifest.folder, load_embeddings(model, manifest), samples)
    except TrainError as problem:  # too few texts for it; the ranking by training still counts
        notice(f"Not compared with the ranking that trains no classifier: {problem}")
        return None
