"""Comparisons that grow seed by seed: one grid, run by `amix compare` as far as the time allows."""

import contextlib
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from measuring.command import environment
from measuring.speedtable import ALL, FIRST

from amix.engine.base.heads import HeadSpec
from amix.study.compare.grid import Cell
from amix.study.compare.gridfile import grid_of
from amix.train.options.auto import AUTO
from gpu.budget import Budget
from gpu.caches import Cache, Maker, named, spelled_out
from gpu.extractors import LAYERS, Variant, export
from gpu.places import Places
from gpu.results import RESULT, folder, keep
from gpu.scale import Scale

_FAREWELL = 12.0  # seconds in which `amix compare` ends its runs when it is told to


class Comparison:
    """A grid in a folder of results. Seeds are added to the front of what is there, so nothing is run twice."""

    def __init__(
        self,
        name: str,
        document: Mapping[str, Any],
        mode: str,
        places: Places,
        scale: Scale,
        budget: Budget,
        *,
        jobs: int,
        guess: float,
    ) -> None:
        """Take a grid as YAML reads it.

        mode: whose results it belongs to.  jobs: runs at a time.
        guess: seconds for a run, start-up included, until one is measured.
        Raises ConfigError or ValueError for a grid that cannot be run.
        """
        self.name, self._mode, self._places, self._budget = name, mode, places, budget
        self._out = folder(places, mode) / name
        self._jobs, self._guess = jobs, guess
        self._document = {**document, "corpora": spelled_out(document["corpora"])}
        self._caches = named(self._document["corpora"])
        self.turns = max(len(each) for each in (self._seeds(document), *self._seeds_of_methods()))
        self._maker = Maker(places, scale, document["model"], heads_of(self._cells(self.turns)))

    def advance(self, turns: int) -> bool:
        """Run what is missing of the first `turns` seeds of every method; tell whether nothing is missing then."""
        missing = self.missing(turns)
        if not missing:
            return True
        try:
            return self._make_caches() and self._budget.piece(
                f"{self.name}, {turns} of {self.turns} seeds",
                lambda: self._compare(turns),
                like=self.name,
                needs=self._guess,
                size=missing,
                reserve=_FAREWELL,
            )
        finally:
            keep(self._places, self._mode)

    def finish(self) -> bool:
        """Run all seeds, or as many as fit; tell whether nothing is missing then.

        The first seed tells what a seed takes. Then as many at once as fit, since every start costs seconds.
        """
        done, turns = self.advance(1), 1
        while done and turns < self.turns:
            fitting = [
                more
                for more in range(turns + 1, self.turns + 1)
                if self._budget.expected(self.name, self._guess, self.missing(more)) + _FAREWELL
                <= self._budget.left
            ]
            turns = max([turns + 1, *fitting])
            done = self.advance(turns)
        return done

    def _seeds(self, given: Mapping[str, Any]) -> list[int]:
        seeds = given.get("seeds", 5)
        return list(range(seeds)) if isinstance(seeds, int) else list(seeds)

    def _seeds_of_methods(self) -> list[list[int]]:
        methods = self._document["methods"].values()
        return [self._seeds(method) for method in methods if method and "seeds" in method]

    def _cut(self, turns: int) -> dict[object, Any]:
        """Return the grid with the first `turns` seeds of each method."""
        methods = {
            label: {**method, "seeds": self._seeds(method)[:turns]}
            if method and "seeds" in method
            else method
            for label, method in self._document["methods"].items()
        }
        seeds = self._seeds(self._document)[:turns]
        return dict([*self._document.items(), ("seeds", seeds), ("methods", methods)])

    def missing(self, turns: int) -> int:
        """Return the number of runs that have no result yet."""
        return sum(not (self._out / cell.folder / RESULT).is_file() for cell in self._cells(turns))

    def _cells(self, turns: int) -> list[Cell]:
        return list(grid_of(self._cut(turns), Path(f"{self.name}.yaml")).cells())

    def _make_caches(self) -> bool:
        """Make the caches that the grid names, the extractor first; tell whether all are there."""
        maker, budget = self._maker, self._budget
        missing = maker.missing(self._caches)
        if not missing:
            return True
        variant = Variant(encoder=self._document["model"], heads=maker.heads, dtype="float32")
        extractor = variant.folder(self._places)
        is_whole = maker.heads == ALL
        if not (extractor / "extractor.json").exists():
            exporting = partial(export, str(maker.model), extractor, LAYERS[variant.heads], variant.dtype)
            if not budget.piece(f"extractor {variant.name}", exporting, needs=45.0 if is_whole else 20.0):
                return False
        # Layer 0 waits for the tokenizer and for the start of processes, not for the card.
        of_imdb = any(cache.name.startswith("imdb") for cache in missing)
        needs = (60.0 if of_imdb else 30.0) if is_whole else (40.0 if of_imdb else 20.0)
        making = partial(self._make, missing, extractor)
        return budget.piece(f"caches of {self.name}", making, needs=needs)

    def _make(self, caches: Sequence[Cache], extractor: Path) -> None:
        """Make caches, several at a time: most of what each takes is its start. Raises what the first failure was."""
        with ThreadPoolExecutor(min(self._jobs, len(caches))) as threads:
            left = self._budget.left
            found = [threads.submit(self._maker.make, cache, extractor, left) for cache in caches]
        for each in found:
            each.result()

    def _compare(self, turns: int) -> None:
        """Run `amix compare`. Raises subprocess.TimeoutExpired when the time is over; finished runs are kept."""
        self._out.mkdir(parents=True, exist_ok=True)
        path = self._out.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(self._cut(turns), sort_keys=False), "utf-8")
        command = [sys.executable, "-m", "amix", "compare", str(path), str(self._out)]
        command += ["--jobs", str(self._jobs), "--json"]
        self._link_model()
        with (self._out.with_suffix(".log")).open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self._maker.root, env=environment(), stdout=log, stderr=log
            )
            try:
                code = process.wait(max(1.0, self._budget.left - _FAREWELL))
            finally:
                _end(process)
        if code:
            tail = self._out.with_suffix(".log").read_text("utf-8", "replace")[-2000:]
            last = tail.strip().splitlines()[-1] if tail.strip() else "it said nothing"
            # `amix compare` ends all runs when one fails.
            raise RuntimeError(
                f"{tail}\namix compare ended with {code}, so {self.name} goes no further in this call; its finished "
                f"runs are kept, and the other grids go on. It said: {last[-400:]}"
            )

    def _link_model(self) -> None:
        """Put the encoder where the grid's path names it."""
        link = self._maker.root / self._document["model"]
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._maker.model)


def heads_of(cells: Iterable[Cell]) -> str:
    """Return what an extractor needs for runs: layer 0 where all of them name heads of it alone, else all heads."""
    for cell in cells:
        config = cell.config
        if "head" not in config.uses or config.relevance_source == "online":
            continue
        if config.head == AUTO:
            return ALL
        specs = HeadSpec.parse_several(config.head)
        if any(layer != 0 for spec in specs for layer, _ in spec.items):
            return ALL
    return FIRST


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()  # it ends its workers, and keeps the runs that are finished
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_FAREWELL)
        if process.poll() is None:
            process.kill()
            process.wait()
