"""Well-sealed documents that say nonsense: each is refused, and the message names the file and the field."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base import canonical
from amix.engine.base.errors import ShardError
from amix.engine.base.publish import sha256_file
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardRecord
from tests.loaders.forge import forge

REMOVED = object()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return forge(tmp_path / "x", [5, 7, 3, 9], per_shard=2, rejects=(1,))


def rewrite(path: Path, field: str, value: object) -> None:
    """Change one field of a document, named by its way (numbers for items), and seal it."""
    document: dict[str, Any] = json.loads(path.read_bytes())  # Any: JSON
    *way, last = [int(step) if step.isdigit() else step for step in field.split(".")]
    inner: Any = document  # Any: JSON
    for step in way:
        inner = inner[step]
    if value is REMOVED:
        del inner[last]
    else:
        inner[last] = value
    path.write_bytes(canonical.seal(document))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("samples", -1, "samples"),
        ("samples", True, "samples"),
        ("tokens", 1.0, "tokens"),
        ("bytes", 1 << 60, "bytes"),
        ("rejects", [], "rejects"),
        ("truncated", REMOVED, "truncated"),
        ("relevance", "summed", "relevance"),
        ("heads", [[0, 0], [0]], "heads"),
        ("heads", [[0, 0]], r"layout\.heads"),
        ("layout", {"heads": 2}, "layout"),
        ("layout.more", 1, "layout"),
        ("layout.dtype", "float64", r"layout\.dtype"),
        ("layout.wide_ids", 0, r"layout\.wide_ids"),
        ("layout.token_types", None, r"layout\.token_types"),
        ("layout.classes", 2, r"layout\.classes"),
        ("layout.cls", "yes", r"layout\.cls"),
        ("layout.text", 1, r"layout\.text"),
        ("max_length", (1 << 20) + 1, "max_length"),
        ("label_names", ["a", 1], "label_names"),
        ("label_names", REMOVED, "label_names"),
        ("plan", [], "plan"),
        ("tokenizer", REMOVED, "tokenizer"),
        ("tokenizer.sha256", "0" * 63, r"tokenizer\.sha256"),
        ("tokenizer.fingerprint", "G" * 64, r"tokenizer\.fingerprint"),
        ("tokenizer.vocab_size", 0, r"tokenizer\.vocab_size"),
        ("tokenizer.vocab_size", (1 << 24) + 1, r"tokenizer\.vocab_size"),
        ("tokenizer.pad_id", -1, r"tokenizer\.pad_id"),
        ("tokenizer.special_ids", [1000], r"tokenizer\.special_ids"),
        ("shards", {}, "shards"),
        ("shards.1", 3, "shards"),
        ("shards.1.name", "../shard-00000000", "shard 1: its name"),
        ("shards.1.rows", [0, 2, 4], "shard 1: its rows"),
        ("shards.1.rows", [4, 2], "shard 1: its rows"),
        ("shards.1.samples", None, "shard 1: its samples"),
        ("shards.1.tokens", REMOVED, "shard 1: its tokens"),
        ("shards.1.bytes", "9", "shard 1: its bytes"),
        ("shards.1.record_sha256", "", "shard 1: its record_sha256"),
    ],
)
def test_a_field_of_the_manifest(cache: Path, field: str, value: object, named: str) -> None:
    rewrite(cache / "manifest.json", field, value)
    with pytest.raises(ShardError, match=rf"manifest\.json: .*{named} is .*Do not use this folder"):
        Manifest.read(cache)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("unit", REMOVED, "unit"),
        ("unit", 1, "unit"),
        ("rows", 2, "rows"),
        ("rows", [2, 0], "rows"),
        ("samples", "1", "samples"),
        ("tokens", REMOVED, "tokens"),
        ("rejects", [[1]], "rejects"),
        ("rejects", [["1", "no text"]], "rejects"),
        ("rejects", [[1, None]], "rejects"),
        ("plan", None, "plan"),
        ("truncated", -1, "truncated"),
        ("rows_sha256", "short", "rows_sha256"),
        ("files", [], "files"),
        ("files.tar", REMOVED, r"files\.tar"),
        ("files.tar.name", "/etc/passwd", r"files\.tar\.name"),
        ("files.index.name", "shard-00000001.index.npy", r"files\.index\.name"),
        ("files.crc.bytes", -1, r"files\.crc\.bytes"),
        ("files.index.sha256", 0, r"files\.index\.sha256"),
    ],
)
def test_a_field_of_a_record(cache: Path, field: str, value: object, named: str) -> None:
    path = cache / "shard-00000000.json"
    rewrite(path, field, value)
    with pytest.raises(ShardError, match=rf"shard-00000000\.json: its {named} is .*Do not use this folder"):
        ShardRecord.read(path)


@pytest.mark.parametrize(("field", "value"), [("rows", [0, 3]), ("samples", 2), ("tokens", 6)])
def test_a_record_that_counts_otherwise_than_the_manifest(cache: Path, field: str, value: object) -> None:
    path = cache / "shard-00000000.json"
    rewrite(path, field, value)
    rewrite(cache / "manifest.json", "shards.0.record_sha256", sha256_file(path))
    with pytest.raises(ShardError, match=rf"shard-00000000\.json: its {field} is .*the manifest says"):
        Manifest.read(cache).record(0)


@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_named_before_any_field(cache: Path, version: int) -> None:
    rewrite(cache / "manifest.json", "version", version)
    rewrite(cache / "manifest.json", "layout", REMOVED)
    with pytest.raises(ShardError, match=rf"is amix-shards version {version}; this amix reads .* version 2"):
        Manifest.read(cache)


@pytest.mark.parametrize("extractor", [None, [], "x", {}, {"fingerprint": 1}])
def test_a_recipe_need_not_say_which_extractor_it_was(extractor: object) -> None:
    assert Recipe({"extractor": extractor}).extractor_fingerprint is None
    assert Recipe({}).extractor_fingerprint is None
    assert Recipe({"extractor": {"fingerprint": "f"}}).extractor_fingerprint == "f"


def test_the_same_texts_are_known_whatever_else_was_read(shards: Path) -> None:
    def cache(**source: Any) -> Manifest:
        return replace(Manifest.read(shards), recipe=Recipe(source), sha256=canonical.digest(source))

    files = [{"sha256": "a", "size": 1}, {"sha256": "b", "size": 1}]
    both = cache(corpus={"files": files, "text_column": "text", "label_names": ["no", "yes"]})
    one = cache(corpus={"files": [{**files[1], "encoding": "cp1252"}], "text_column": "text", "limit": 9})
    assert both.holds_texts_of(one)
    assert not one.holds_texts_of(both)
    assert not both.holds_texts_of(cache(corpus={"files": files, "text_column": "title"}))
    train, dev = ({"kind": "hub", "name": "imdb", "split": split} for split in ("train", "test"))
    assert cache(corpus=train).holds_texts_of(cache(corpus={**train, "label_column": "stars"}))
    assert not cache(corpus=train).holds_texts_of(cache(corpus=dev))
    for copy in (cache(repacked=[both.sha256]), cache(relabelled=both.sha256)):
        assert copy.holds_texts_of(both)
        assert both.holds_texts_of(copy)
    nothing = cache()  # its recipe does not say
    assert nothing.holds_texts_of(nothing)
    assert not both.holds_texts_of(nothing)


def test_recipes_differ_by_the_way_to_what_differs() -> None:
    before = Recipe({"layout": {"dtype": "float16", "heads": 2}, "heads": [[0, 0]], "gone": "x" * 100})
    now = Recipe({"layout": {"dtype": "uint8", "heads": 2}, "heads": [[0, 0]]})
    assert list(before.differences(now)) == [
        ("gone", "x" * 77 + "...", "None"),
        ("layout.dtype", "float16", "uint8"),
    ]


def test_recipes_name_the_file_that_differs_and_how() -> None:
    before = Recipe({"corpus": {"files": [{"sha256": "a"}, {"sha256": "b"}]}})
    now = Recipe({"corpus": {"files": [{"sha256": "a"}, {"sha256": "b", "encoding": "cp1252"}]}})
    assert list(before.differences(now)) == [("corpus.files.1.encoding", "None", "cp1252")]
    more = Recipe({"corpus": {"files": [{"sha256": "a"}]}})
    assert [name for name, _, _ in before.differences(more)] == ["corpus.files"]


def test_a_manifest_says_which_files_were_read_if_it_is_told(cache: Path) -> None:
    path = cache / "manifest.json"
    assert Manifest.read(cache).files == ()
    assert b'"files":[{"name"' not in path.read_bytes()
    found = [{"name": "a.csv", "rows": 3}, {"name": "b.csv", "rows": 1}]
    rewrite(path, "files", found)
    manifest = Manifest.read(cache)
    assert manifest.files == (("a.csv", 3), ("b.csv", 1))
    assert manifest.sealed() == path.read_bytes()
    for field, value in (("files.0.rows", -1), ("files.1.name", None)):
        rewrite(path, "files", found)
        rewrite(path, field, value)
        with pytest.raises(ShardError, match=r"manifest\.json: file \d: its (rows|name) is"):
            Manifest.read(cache)
