"""The comparison with students: teachers, their labels, students, and what is kept of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from evidence import measure, students

from amix.loaders.shards.rewrite.repack import RepackOptions, repack

GRID = {
    "options": {"batch_size": 8, "lr": 1.0e-2, "device": "cpu", "epochs": 1},
    "corpora": {"reviews": {"train": "caches/reviews/train", "eval": {"test": "caches/reviews/test"}}},
    "samples": [16],
    "seeds": 2,
    "methods": {
        "none": {"ensemble": 2},
        "none student": {"train": "taught/{corpus}-{samples}-{seed}"},
        "attentionmix student": {"train": "taught/{corpus}-{samples}-{seed}", "p": 0.5, "seeds": 1},
    },
}


def test_students_learn_from_the_ensemble_of_their_seed(
    reviews: Path,
    held_out: Path,
    review_rows: list[dict[str, Any]],
    make_shards: Any,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = make_shards([{"text": row["text"]} for row in review_rows[:24]], no_labels=True)
    for name, source in (("train", reviews), ("test", held_out), ("unlabelled", texts)):
        repack([source], tmp_path / "caches" / "reviews" / name, RepackOptions())
    grid = tmp_path / "students.yaml"
    grid.write_text(yaml.safe_dump({"model": str(tiny_bert), **GRID}))
    for _ in range(2):  # the second time nothing is left to do
        students.main([str(grid), "out", "--jobs", "2"])
    taught = {path.name: (path / "manifest.json").read_bytes() for path in Path("taught").iterdir()}
    assert taught.keys() == {"reviews-16-0", "reviews-16-1"}
    assert {json.loads(each)["samples"] for each in taught.values()} == {24}
    assert len(set(taught.values())) == 2  # each seed has teachers of its own

    measure.main(grid, Path("out"), Path("numbers.json"))
    (place,) = json.loads(Path("numbers.json").read_text())["places"]
    counts = {method: len(runs) for method, runs in place["runs"].items()}
    assert counts == {"none": 2, "none, ensemble of 2": 2, "none student": 2, "attentionmix student": 1}
    pairs = {(each["method"], each["to"]): each["seeds"] for each in place["contrasts"]}
    assert pairs["none student", "none"] == [0, 1]
    assert pairs["none, ensemble of 2", "none"] == [0, 1]
    assert pairs["attentionmix student", "none student"] == [0]
