"""The grids in bench/evidence, in the order of their names, each as far as the time allows."""

from functools import partial
from pathlib import Path
from typing import Any

import yaml

from gpu.budget import Budget
from gpu.card import facts
from gpu.extractors import weights
from gpu.grids import Comparison
from gpu.places import Places
from gpu.scale import Scale

GRIDS = Path(__file__).resolve().parents[1] / "evidence"


def measure(places: Places, scale: Scale, budget: Budget, jobs: int) -> None:
    """Run the grids; the next call goes on."""
    for name, value in facts(scale.device).items():
        budget.journal.fact(name, value)
    comparisons: list[Comparison] = []

    def read(path: Path) -> None:
        document = on_device(yaml.safe_load(path.read_text("utf-8")), scale)
        comparison = Comparison(path.stem, document, "evidence", places, scale, budget, jobs=jobs, guess=4.0)
        model = document["model"]
        budget.journal.fact(f"weights of {model}", weights(places.gpu / model, scale))
        comparisons.append(comparison)

    # All of them first: a mistake in one shows at once, and keeps none of the others.
    # Not those with students: `bench/evidence/students.py` runs them, in several steps.
    paths = [
        path
        for path in sorted(GRIDS.glob("*.yaml"))
        if not has_students(yaml.safe_load(path.read_text("utf-8")))
    ]
    for path in paths if scale.whole else paths[:1]:
        budget.piece(f"grid {path.stem}", partial(read, path), needs=0.0)
    for comparison in comparisons:
        comparison.finish()


def has_students(document: dict[str, Any]) -> bool:
    """Return whether a method of a grid trains on a cache of its own."""
    return any("train" in (method or {}) for method in document["methods"].values())


def on_device(document: dict[str, Any], scale: Scale) -> dict[str, Any]:
    """Return a grid with its runs on the device that is measured."""
    options = {**(document.get("options") or {}), "device": "cuda:0" if scale.device == "cuda" else "cpu"}
    if scale.epochs is not None:
        options["epochs"] = scale.epochs
    return {**(document if scale.whole else _example(document)), "options": options}


def _example(document: dict[str, Any]) -> dict[str, Any]:
    """Return the little of a grid that shows that it runs: a corpus, a number of texts, a seed, two methods."""
    return {
        **document,
        "corpora": dict(list(document["corpora"].items())[:1]),
        "samples": list(document["samples"])[:1],
        "seeds": 1,
        "methods": dict(list(document["methods"].items())[:2]),
    }
