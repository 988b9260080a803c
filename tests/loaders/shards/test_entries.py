"""A manifest's entries, parsed as columns: the same as entry by entry, or not at all."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base import canonical
from amix.engine.base.errors import ShardError
from amix.loaders.shards.entries import ShardEntries, ShardEntry
from amix.loaders.shards.fields import Fields
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.manifestjson import parse_columns, unsealed

COUNTS = st.integers(0, (1 << 60) - 1)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
ENTRIES = st.builds(
    ShardEntry,
    name=st.integers(0, 99_999_999).map("shard-{:08d}".format),
    row_range=st.tuples(COUNTS, COUNTS).map(lambda pair: (min(pair), max(pair))),
    samples=COUNTS,
    tokens=COUNTS,
    tar_bytes=COUNTS,
    record_sha256=HASHES,
)


def written(entries: list[ShardEntry]) -> bytes:
    return canonical.dumps([entry.document() for entry in entries])[1:-1]


def parsed_at_once(text: bytes) -> ShardEntries | None:
    columns = parse_columns(memoryview(text))
    return None if columns is None else ShardEntries(columns)


@given(st.lists(ENTRIES, min_size=1, max_size=5))
def test_columns_hold_what_was_written(entries: list[ShardEntry]) -> None:
    assert list(ShardEntries.of(entries)) == entries
    parsed = parsed_at_once(written(entries))
    if parsed is None:  # a number of 19 digits is left to the other way of reading
        assert any(
            max(each.samples, each.tokens, each.tar_bytes, each.row_range[1]) >= 10**18 for each in entries
        )
    else:
        assert parsed == ShardEntries.of(entries)
        assert parsed[:1][0] == parsed[-len(entries)] == entries[0]


@given(st.data())
def test_other_characters_are_parsed_as_json_has_them_or_not_at_all(data: st.DataObject) -> None:
    plain = ShardEntry(
        name="shard-00000001", row_range=(0, 7), samples=7, tokens=91, tar_bytes=4096, record_sha256="0a" * 32
    )
    text = bytearray(written([plain] * data.draw(st.integers(1, 3))))
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(text) - 1))
        junk = data.draw(st.sampled_from([b"", b"0", b"9", b",", b"{", b"}", b"-", b" ", b"A", b'"', b"},{"]))
        text[at : at + data.draw(st.integers(0, 1))] = junk
    parsed = parsed_at_once(bytes(text))
    if parsed is not None:
        objects = json.loads(b"[" + text + b"]")
        assert canonical.dumps(objects)[1:-1] == text
        assert list(parsed) == [ShardEntry.read(Fields(each, "it")) for each in objects]


def test_many_entries_are_parsed_in_stretches() -> None:
    entries = [
        ShardEntry(
            name=f"shard-{number:08d}",
            row_range=(number * 4096, number * 4096 + 4096),
            samples=4096 - number % 2000,
            tokens=number,
            tar_bytes=10**9,
            record_sha256=f"{number:064x}",
        )
        for number in range(12_000)
    ]
    parsed = parsed_at_once(written(entries))
    assert parsed is not None
    assert parsed == ShardEntries.of(entries)
    assert parsed[11_999] == entries[-1]
    assert parsed.samples.sum() == sum(each.samples for each in entries)


def test_a_manifest_is_read_both_ways_alike(shards: Path, tmp_path: Path) -> None:
    data = (shards / "manifest.json").read_bytes()
    quick = unsealed(data)
    assert quick is not None
    assert list(ShardEntries(quick[1])) == [
        ShardEntry.read(Fields(each, "it")) for each in json.loads(data)["shards"]
    ]
    manifest = Manifest.read(shards)
    assert manifest.sealed() == data
    assert manifest == Manifest.parse(data, "it", shards)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"samples":16,', b'"samples":17,'),
        (b'"shards":[{', b'"shards": [{'),
        (b"}]", b"},{}]"),
        (b'"max_length":64', b'"max_length":65'),
        (b'"sha256":"', b'"sha256":"0'),
    ],
)
def test_a_manifest_that_was_changed_is_refused(shards: Path, old: bytes, new: bytes) -> None:
    data = (shards / "manifest.json").read_bytes()
    changed = data.replace(old, new)
    assert changed != data
    with pytest.raises(ShardError, match=r"does not match its own sha256|not JSON"):
        Manifest.parse(changed, "it", shards)
