"""Arguments in each other's places, as a user types them: what is what, and never the advice to remove it."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amix.cli import main


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, reviews: Path, tiny_extractor: Path, tiny_bert: Path
) -> Path:
    """A folder with one of each."""
    folder = tmp_path_factory.mktemp("places")
    shutil.copytree(reviews, folder / "cache")
    shutil.copytree(reviews, folder / "caches" / "train")
    shutil.copytree(tiny_extractor, folder / "extractor")
    shutil.copytree(tiny_bert, folder / "model")
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("epochs: 1\n")
    (folder / "run" / "metrics.jsonl").touch()
    (folder / "train.csv").write_text("text,label\ngood,1\n")
    return folder


def refused(places: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> Result:
    monkeypatch.chdir(places)
    before = sorted(places.rglob("*"))
    done = CliRunner().invoke(main, line.split())
    assert done.exit_code == 2, done.output
    assert "remove" not in done.stderr
    assert sorted(places.rglob("*")) == before
    return done


@pytest.mark.parametrize(
    ("line", "one", "other"),
    [
        ("export new model", "MODEL", "OUT"),
        ("precompute new train.csv --extractor extractor", "CORPUS", "OUT"),
        ("precompute train.csv extractor --extractor new", "--extractor", "OUT"),
        ("precompute extractor new --extractor train.csv", "CORPUS", "--extractor"),
        ("train new cache --model model", "SHARDS", "OUT"),
        ("train model new --model cache", "SHARDS", "--model"),
        ("train cache model --model new", "--model", "OUT"),
        ("compare new cache --model model", "SHARDS", "OUT"),
        ("select new cache --model model", "SHARDS", "OUT"),
        ("analyse new cache", "SHARDS", "OUT"),
        ("repack new cache", "SHARDS", "OUT"),
        ("push name/new cache", "SHARDS", "TARGET"),
    ],
)
def test_swapped_arguments_are_named(
    places: Path, monkeypatch: pytest.MonkeyPatch, line: str, one: str, other: str
) -> None:
    done = refused(places, monkeypatch, line)
    assert f"{one} and {other} look swapped: " in done.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train extractor new --model model", "extractor is an extractor; SHARDS takes a cache of shards."),
        ("train train.csv new --model model", "Make one of it with 'amix precompute train.csv SHARDS"),
        (
            "train caches new --model model",
            "caches is a folder of caches; SHARDS takes a cache of shards. Name one of ",
        ),
        (
            "train cache new --model run",
            "run is a run; --model takes a model. The model of that run is run/model.",
        ),
        ("train cache new --model model --dev extractor", "extractor is an extractor; --dev takes a cache"),
        ("train cache new --model model --eval test=run", "run is a run; --eval takes a cache of shards."),
        (
            "precompute train.csv new --extractor cache",
            "cache is a cache of shards; --extractor takes an extractor.",
        ),
        ("precompute train.csv new --extractor model", "Make one of it with 'amix export model EXTRACTOR'."),
        ("precompute cache new --extractor extractor", "cache is a cache of shards; CORPUS takes a corpus."),
        ("export cache new", "cache is a cache of shards; MODEL takes a model."),
        ("report cache", "cache is a cache of shards; FOLDER takes a run or a comparison."),
    ],
)
def test_a_place_of_another_kind_is_named_with_what_is_taken(
    places: Path, monkeypatch: pytest.MonkeyPatch, line: str, says: str
) -> None:
    assert says in refused(places, monkeypatch, line).stderr


@pytest.mark.parametrize(
    ("line", "is_what"),
    [
        ("export model cache", "it is a cache of shards; an extractor is written to"),
        ("train cache model --model model", "it is a model; a run is written to"),
        ("precompute train.csv model --extractor extractor", "it is a model. Shards are written to"),
    ],
)
def test_work_that_is_in_the_way_is_named_and_kept(
    places: Path, monkeypatch: pytest.MonkeyPatch, line: str, is_what: str
) -> None:
    done = refused(places, monkeypatch, line)
    assert "already holds other work" in done.stderr
    assert is_what in done.stderr


def test_a_share_of_the_texts_is_no_place(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = refused(places, monkeypatch, "train cache model --model model --dev 0.2")
    assert "swapped" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "train shards s3://me:s3cr3t@bucket/run --model m",
        "export m s3://me:s3cr3t@bucket/run",
        "fit reviews.csv s3://me:s3cr3t@bucket/run",
        "compare shards s3://me:s3cr3t@bucket/run --model m",
        "repack s3://me:s3cr3t@bucket/run smaller",
        "report s3://me:s3cr3t@bucket/run",
    ],
)
def test_a_url_is_refused_where_only_a_folder_will_do(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 2
    assert "s3://bucket/run is a URL, and a file or folder of this machine is needed." in done.stderr
    assert list(tmp_path.iterdir()) == []
