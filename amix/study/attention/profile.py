"""Heads ranked by training with them: successive halving, from all heads with one seed to a few with many seeds."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from amix.engine.base.errors import UsageError
from amix.engine.base.ranks import rank_correlation
from amix.engine.base.words import counted
from amix.loaders.shards.manifest import Manifest
from amix.study.compare.grid import Corpus, Grid, Method, Options
from amix.study.compare.outcome import Outcome
from amix.study.compare.runner import run_grid
from amix.train.heads.proxy import rank_heads
from amix.train.options.auto import EVEN
from amix.train.options.dev import parse_dev
from amix.train.run.data.subset import draw_subset


@dataclass(frozen=True, kw_only=True)
class ProfiledHead:
    """A head spec after its last round.  nll, accuracy: means on the development set over `seeds` seeds."""

    head: str
    nll: float
    accuracy: float
    seeds: int


def profile_heads(
    model: str,
    corpus: Corpus,
    specs: Sequence[str],
    out: Path,
    *,
    budget: int,
    samples: int | None = None,
    options: Options | None = None,
    jobs: int | None = None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[ProfiledHead]:
    """Return all specs, the best first: those that lasted longer before those that were dropped earlier.

    Successive halving (Jamieson and Talwalkar 2016): every round spends an equal share of `budget` runs on the
    candidates left, with seeds that are new to them, and keeps the better half by NLL on the development set.
    samples: number of training texts, None = all.  options: of training. Unless they set `p`, half of the rows are
    mixed: with `p` auto it could be none, and all heads would come out equal.
    Finished runs are kept in `out` and not repeated. Raises UsageError when the budget is less than one run for each
    candidate, or the corpus has no development set of its own.
    """
    if not isinstance(parse_dev(corpus.dev), str):
        raise UsageError("Ranking heads by training needs --dev SHARDS, on which heads are compared.")
    if budget < len(specs):
        raise UsageError(
            f"--budget {budget}: {counted(len(specs), 'head')} need at least one run each. Give a larger budget."
        )
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
            corpora={"select": corpus},
            methods={f"attentionmix {spec}": Method(options={"head": spec}) for spec in left},
            seeds=range(seeds),
            samples={samples: {}},
            options={"p": EVEN, **(options or {})},
        )
        ranked = _ranked(run_grid(grid, out, jobs=jobs, on_outcome=on_outcome), left, seeds)
        keep = (len(left) + 1) // 2 if number + 1 < rounds else len(ranked)
        dropped = ranked[keep:] + dropped
        left = [each.head for each in ranked[:keep]]
        best = ranked[:keep]
    return best + dropped


def agreement(
    profile: Sequence[ProfiledHead], folder: str | Path, embeddings_VD: Tensor, samples: int | None
) -> float:
    """Return the rank correlation (Spearman) of a profile with the ranking by `rank_heads`, in [-1, 1].

    folder, samples: the cache and the number of training texts of the profile.  embeddings_VD: of its model.
    Both rank on the same texts: a head's separation is its mean over the training texts of the seeds that every head
    was trained with.
    Raises TrainError where `rank_heads` does.
    """
    specs = [each.head for each in profile]
    available = Manifest.read(Path(folder)).samples
    separation = dict.fromkeys(specs, 0.0)
    for seed in range(1 if samples is None else min(each.seeds for each in profile)):
        numbers = draw_subset(available, samples, seed, Path(folder))
        for each in rank_heads(folder, embeddings_VD, numbers, specs=specs):
            separation[each.head] += each.separation
    order_1S = -np.arange(len(specs))[None]
    return float(rank_correlation(order_1S, np.array([[separation[spec] for spec in specs]]))[0])


def _ranked(outcomes: Sequence[Outcome], specs: Sequence[str], seeds: int) -> list[ProfiledHead]:
    found = []
    for spec in specs:
        dev = [each.result.dev for each in outcomes if each.cell.config.head == spec]
        nll, accuracy = (
            statistics.mean(metrics[name] for metrics in dev if metrics is not None)
            for name in ("nll", "accuracy")
        )
        found.append(ProfiledHead(head=spec, nll=nll, accuracy=accuracy, seeds=seeds))
    return sorted(found, key=lambda each: each.nll)
