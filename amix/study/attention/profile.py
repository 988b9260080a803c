"""Heads ranked by training with them: successive halving, from all of them with one seed to a few with many."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from amix.engine.base.errors import UsageError
from amix.engine.base.ranks import rank_correlation
from amix.loaders.shards.manifest import Manifest
from amix.study.compare.grid import Cache, Grid, Options
from amix.study.compare.outcome import Outcome
from amix.study.compare.runner import run_grid
from amix.train.heads.proxy import rank_heads
from amix.train.options.auto import EVEN
from amix.train.run.subset import draw_subset


@dataclass(frozen=True, kw_only=True)
class ProfiledHead:
    """A head spec after its last round.  nll, accuracy: means on the development set over `seeds` seeds."""

    head: str
    nll: float
    accuracy: float
    seeds: int


def profile_heads(
    model: str,
    cache: Cache,
    specs: Sequence[str],
    out: Path,
    *,
    budget: int,
    size: int | None = None,
    options: Options | None = None,
    jobs: int = 1,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[ProfiledHead]:
    """Return all specs, the best first: those that lasted longer before those that were dropped earlier.

    Successive halving (Jamieson and Talwalkar 2016): every round spends an equal share of `budget` runs on the
    candidates left, as seeds that are new to them, and keeps the better half by the development set's NLL. Half of
    the rows are mixed where `options` say nothing else: `p` auto might mix none, and heads would all be equal. Runs lie
    in `out` and are not repeated. Raises UsageError when the budget is less than one run for each candidate, or
    there is no development set.
    """
    if cache.dev is None:
        raise UsageError("ranking heads by training needs --dev, shards to tell the better ones by.")
    if budget < len(specs):
        raise UsageError(f"--budget {budget}: {len(specs)} heads need at least one run each.")
    rounds = max(1, (len(specs) - 1).bit_length())
    left, dropped = list(specs), list[ProfiledHead]()
    spent, seeds = 0, 0
    for number in range(rounds):
        more = max(1, (budget - spent) // ((rounds - number) * len(left)))
        if spent + more * len(left) > budget:
            break
        seeds, spent = seeds + more, spent + more * len(left)
        grid = Grid(
            model=model,
            caches={"select": cache},
            methods={f"attentionmix {spec}": {"head": spec} for spec in left},
            seeds=range(seeds),
            sizes={size: {}},
            options={"p": EVEN, **(options or {})},
        )
        ranked = _ranked(run_grid(grid, out, jobs=jobs, on_outcome=on_outcome), left, seeds)
        keep = (len(left) + 1) // 2 if number + 1 < rounds else len(ranked)
        dropped = ranked[keep:] + dropped
        left = [each.head for each in ranked[:keep]]
        best = ranked[:keep]
    return best + dropped


def agreement(
    profile: Sequence[ProfiledHead], folder: str | Path, embeddings_VD: Tensor, size: int | None
) -> float:
    """Return the rank correlation (Spearman) of a profile with what `rank_heads` says of the same texts, in [-1, 1].

    folder, size: the cache and number of training texts of the profile.  embeddings_VD: of its model. A head's
    separation is the mean over the texts of the seeds that all heads had. Raises TrainError where `rank_heads` does.
    """
    specs = [each.head for each in profile]
    samples = Manifest.read(Path(folder)).samples
    separation = dict.fromkeys(specs, 0.0)
    for seed in range(1 if size is None else min(each.seeds for each in profile)):
        numbers = draw_subset(samples, size, seed, Path(folder))
        for each in rank_heads(folder, embeddings_VD, numbers, specs=specs):
            separation[each.head] += each.separation
    order_1S = -np.arange(len(specs))[None]
    return float(rank_correlation(order_1S, np.array([[separation[spec] for spec in specs]]))[0])


def _ranked(outcomes: Sequence[Outcome], specs: Sequence[str], seeds: int) -> list[ProfiledHead]:
    found = []
    for spec in specs:
        dev = [each.result["dev"] for each in outcomes if each.cell.config.head == spec]
        nll, accuracy = (statistics.mean(each[name] for each in dev) for name in ("nll", "accuracy"))
        found.append(ProfiledHead(head=spec, nll=nll, accuracy=accuracy, seeds=seeds))
    return sorted(found, key=lambda each: each.nll)
