"""The table of AttentionMix's source on a base-size encoder, and its profile over layers, seed by seed."""

from collections.abc import Iterable, Mapping
from typing import Any

from gpu.budget import Budget
from gpu.card import facts
from gpu.extractors import weights
from gpu.grids import Comparison
from gpu.places import Places
from gpu.scale import Scale

ENCODER = "mpnet"
_PAPER = {"method": "attentionmix", "preset": "paper"}
METHODS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "attentionmix 0.8": {"head": "0.8"},
    "attentionmix 0.mean": {"head": "0.mean"},
    "attentionmix paper": {**_PAPER, "head": "0.8"},
    "wordmixup": None,
    "sentencemixup": None,
}
PROFILE = {f"attentionmix {layer}.mean": {**_PAPER, "head": f"{layer}.mean"} for layer in range(12)}
LONG = 10  # epochs of the longer schedule
# Of 80 GB a run takes 10 to 11: 7.9 for the backward pass of 32 x 256 tokens, 1.8 for weights, gradients and Adam's
# moments, 0.5 for its context.
IMDB_JOBS = 6


def measure(places: Places, scale: Scale, budget: Budget, jobs: int) -> None:
    """Run as many seeds of each grid as fit; the next call goes on."""
    described = {f"weights of {ENCODER}": weights(places.gpu / ENCODER, scale)}
    for name, value in {**facts(scale.device), **described}.items():
        budget.journal.fact(name, value)

    def comparison(
        name: str, corpora: Mapping[str, int], methods: Mapping[str, Any], guess: float, most: int = jobs
    ) -> Comparison:
        """corpora: by name, with epochs.  most: runs that the card's memory holds."""
        document = grid(scale, corpora, methods)
        return Comparison(name, document, "table", places, scale, budget, jobs=min(jobs, most), guess=guess)

    sentences = {"sst2": 3, "mr": 3}
    # A run's share of the card, guessed until one is measured.
    rounds = [
        [
            comparison("sentences", sentences, METHODS, 12.0),
            comparison("imdb", {"imdb": 2}, METHODS, 40.0, IMDB_JOBS),
            comparison("profile", sentences, PROFILE, 12.0),
        ],
        [comparison("longer", dict.fromkeys(sentences, LONG), METHODS, 40.0)],
    ]
    if not scale.whole:
        # One start for a little of everything. The real grids have been read too, so that a wrong option shows.
        few = {
            label: {**METHODS, **PROFILE}[label]
            for label in ("none", "attentionmix paper", "attentionmix 0.mean")
        }
        rounds = [[comparison("sentences", {"imdb": 1}, few, 12.0)]]
    for round_ in rounds:
        seed_by_seed(round_, scale.seeds)


def seed_by_seed(comparisons: Iterable[Comparison], seeds: int) -> None:
    """Give each comparison one seed more in turn; one whose seed does not fit, or fails, gets no other in this call."""
    going = list(comparisons)
    for turn in range(1, seeds + 1):
        going = [each for each in going if each.advance(turn)]


def grid(scale: Scale, corpora: Mapping[str, int], methods: Mapping[str, Any]) -> dict[str, Any]:
    """Return a grid as YAML reads it. corpora: by name, with epochs."""
    return {
        "model": ENCODER,
        "options": {
            "device": "cuda:0" if scale.device == "cuda" else "cpu",
            "mixed_precision": "bf16",
            "lr": 2e-5,
            "warmup_ratio": 0.1,
            "batch_size": 32,
        },
        "corpora": {
            name: {
                "train": f"caches/{name}/train",
                "dev": f"caches/{name}/validation",
                "eval": {"test": f"caches/{name}/test"},
                "options": {"epochs": scale.epochs or epochs},
            }
            for name, epochs in corpora.items()
        },
        "samples": ["all"],
        "seeds": scale.seeds,
        "methods": dict(methods),
    }
