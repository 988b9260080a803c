"""`amix select`: which head to mix by."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from amix.cli.output import json_line, json_option, notice, table
from amix.cli.train import config_options
from amix.engine.base.errors import TrainError, UsageError


@click.command()
@click.argument("shards")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="Hub id or folder of the encoder that will be fine-tuned.")
@click.option("--samples", type=click.IntRange(min=1), help="Rank on so many randomly drawn texts.")
@click.option("--subset-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of that draw.")
@click.option("--budget", type=click.IntRange(min=1), help="Rank by training instead, with so many runs.")
@click.option("--heads", help="Candidates, head specs with commas.  [default: every head and mean]")
@click.option("--dev", help="Shards that tell the better heads, with --budget.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time.")
@config_options("method", "head", "seed", "subset_seed", "samples")
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
    jobs: int,
    as_json: bool,
    **flags: Any,  # noqa: ANN401
) -> None:
    """Rank the heads of the cache SHARDS for its labels, and write the ranking to OUT.

    Without --budget no classifier is trained: a head is as good as the words that it points at tell the classes apart
    on texts held out, which takes seconds to minutes. With --budget classifiers are trained with the candidates, the
    better half of them again and again. `amix train --head auto` takes the first of the former.
    """
    from amix.engine.base import publish
    from amix.engine.base.heads import HeadSpec
    from amix.loaders.shards.manifest import Manifest
    from amix.loaders.shards.remote import is_remote
    from amix.train.heads.proxy import candidates, rank_heads
    from amix.train.model.classifier import load_embeddings

    if is_remote(shards):
        raise UsageError(f"{shards}: heads are ranked on a local cache. Fetch it first.")
    given = [name for name, value in flags.items() if value is not None]
    if given and budget is None:
        raise UsageError(f"--{given[0].replace('_', '-')} is of training; it needs --budget.")
    misplaced = [name for name, value in (("dev", dev), ("jobs", jobs > 1)) if value and budget is None]
    misplaced += ["subset-seed"] if subset_seed and budget is not None else []
    if misplaced:
        why = "a run's seed draws its texts" if budget is not None else "it needs --budget"
        raise UsageError(f"--{misplaced[0]} has no effect here: {why}. Leave it out.")
    manifest = Manifest.read(Path(shards))
    specs = [each.strip() for each in heads.split(",")] if heads else candidates(manifest.heads)
    for spec in specs:
        HeadSpec.parse(spec)  # one head or mean, not heads that take turns
    agrees: dict[str, float] = {}
    if budget is None:
        from amix.train.run.subset import draw_subset

        numbers = draw_subset(manifest.samples, samples, subset_seed, Path(shards))
        ranking: list[Any] = list(rank_heads(shards, load_embeddings(model, manifest), numbers, specs=specs))
    else:
        from tqdm import tqdm

        from amix.study.attention.profile import agreement, profile_heads
        from amix.study.compare.grid import Cache
        from amix.study.compare.runner import runs_are_kept
        from amix.train.options.file import given_options

        cache = Cache(train=shards, dev=dev)
        with tqdm(unit=" runs", desc="select", disable=None) as bar:

            def advance(_: object) -> None:
                bar.update()

            try:
                ranking = list(
                    profile_heads(
                        model,
                        cache,
                        specs,
                        out,
                        budget=budget,
                        size=samples,
                        options=given_options(flags),
                        jobs=jobs,
                        on_outcome=advance,
                    )
                )
            except KeyboardInterrupt:
                notice(runs_are_kept(out, "Ctrl-C"))
                raise
        try:
            if len(ranking) > 1:
                agrees["agreement"] = agreement(ranking, shards, load_embeddings(model, manifest), samples)
        except TrainError as problem:  # too few texts for it: what was trained is worth keeping
            notice(f"Not compared with the ranking that trains no classifier: {problem}")
    rows = [asdict(each) for each in ranking]
    out.mkdir(parents=True, exist_ok=True)
    document = {"shards": manifest.sha256, "model": model, "samples": samples, **agrees, "heads": rows}
    publish.write_atomic(out / "ranking.json", json.dumps(document, indent=1).encode() + b"\n")
    if as_json:
        json_line({"best": rows[0]["head"], **document})
        return
    table(list(rows[0]), [list(row.values()) for row in rows])
    if agrees:
        notice(f"Rank correlation with the ranking that trains no classifier: {agrees['agreement']:.2f}.")
    notice(f"{out / 'ranking.json'}: the whole ranking. Train with --head {rows[0]['head']}.")
