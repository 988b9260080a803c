"""What a run is known by: which options decide it, and that runs which are kept are found again."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amix.study.compare.gridfile import read_grid
from amix.train.options import auto
from amix.train.options.config import TrainConfig
from amix.train.options.identity import FREE, identity_of

RESULTS = Path(__file__).parents[3] / "docs" / "results"


def test_what_is_read_ahead_and_how_often_is_logged_makes_no_other_run() -> None:
    plain = TrainConfig(method="none")
    changed: dict[str, Any] = {"read_workers": 2, "prefetch_batches": 5, "log_steps": 1, "eval_batch_size": 3}
    assert set(changed) <= FREE
    assert identity_of(TrainConfig(method="none", **changed)) == identity_of(plain)
    assert identity_of(replace(plain, samples=8)) != identity_of(plain)


def test_a_run_is_known_by_what_auto_stands_for() -> None:
    found = identity_of(TrainConfig(head="auto", p="auto"))
    # Word for word: runs and rankings that are kept are found again by these.
    assert found["p"] == "auto (from 0, plus twice the confidence gap)"
    assert found["head"] == "auto (ridge regression on 5 folds, its freedom counting the mean)"
    assert identity_of(TrainConfig(head="auto", method="none"))["head"] == "auto"
    assert auto.rule_of_p(0.1, 3.0) == "from 0.1, plus 3 times the confidence gap"
    assert auto.rule_of_head(4) == "ridge regression on 4 folds, its freedom counting the mean"


@pytest.mark.parametrize("name", ["few", "sst2", "trecfull"])
def test_runs_that_are_kept_are_found_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(RESULTS / name)
    cells = {str(cell.folder / "result.json"): cell.config for cell in read_grid(Path("grid.yaml")).cells()}
    found = set()
    with tarfile.open("runs.tar.xz") as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if path not in cells:
                continue
            file = archive.extractfile(member)
            assert file is not None
            kept: dict[str, Any] = json.load(file)["identity"]  # JSON
            shards = {"model", "shards", "dev", *(key for key in kept if key.startswith("eval "))}
            options = {key: value for key, value in kept.items() if key not in shards}
            # An option that is younger than the run has the value that stands for its absence.
            assert identity_of(cells[path]) == {**identity_of(TrainConfig()), **options}, path
            found.add(path)
    assert found == set(cells)
