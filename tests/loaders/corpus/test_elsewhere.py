"""Files of a store are read where they are, in parts, like those of this machine."""

import contextlib
import json
import pickle
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, Row, open_corpus
from amix.loaders.corpus.ranges import RangeReader
from amix.loaders.stores import RemoteFile, transfer
from tests.loaders.flaky import Fault, FlakyStore
from tests.loaders.s3 import BUCKET, files, s3_options

RANDOM = random.Random(0)
ROWS = [{"text": f"{number} {RANDOM.randbytes(150).hex()}", "label": number % 2} for number in range(5000)]


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows in several files; read only."""
    folder = tmp_path_factory.mktemp("texts")
    lines = [json.dumps(row) for row in ROWS]
    (folder / "a.jsonl").write_text("\n".join(lines[:3000]) + "\n")
    (folder / "b.jsonl").write_text("\n".join(lines[3000:]) + "\n")
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet", row_group_size=500)
    with (
        pa.OSFile(str(folder / "rows.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, pa.schema([("text", pa.string()), ("label", pa.int64())])) as writer,
    ):
        writer.write_table(pa.Table.from_pylist(ROWS))
    return folder


def rows(corpus: Corpus) -> list[Row]:
    with contextlib.closing(corpus.rows()) as found:
        return list(found)


@pytest.mark.parametrize("name", ["a.jsonl", "*.jsonl", "rows.parquet", "rows.arrow"])
def test_a_corpus_is_the_same_there_as_here(folder: Path, name: str) -> None:
    there = open_corpus(f"file://{folder}/{name}", CorpusOptions())
    here = open_corpus(f"{folder}/{name}", CorpusOptions())
    assert there.identity == here.identity
    assert there.files == here.files
    assert rows(there) == rows(here)
    assert rows(pickle.loads(pickle.dumps(there))) == rows(here)


def test_every_byte_of_a_store_that_fails_now_and_then_is_read(folder: Path, s3: str) -> None:
    files(s3).put(str(folder / "rows.parquet"), f"{BUCKET}/texts/rows.parquet")

    def fails(method: str, path: str, before: int) -> Fault:
        return {2: "503", 4: "short", 6: "503", 7: "short"}.get(before)

    with FlakyStore(s3, fails) as store:
        corpus = open_corpus(f"s3://{BUCKET}/texts/*.parquet", CorpusOptions(), s3_options(store.url))
        assert rows(corpus) == rows(open_corpus(str(folder / "rows.parquet"), CorpusOptions()))
        assert "s3cr3t" not in repr(corpus.identity)


@pytest.mark.parametrize("name", ["a.jsonl", "rows.parquet"])
def test_a_range_fetches_little_more_than_its_own_bytes(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    part = transfer.Store.part

    def counted(self: transfer.Store, name: str, start: int, end: int) -> bytes:
        fetched.append(end - start)
        return part(self, name, start, end)

    monkeypatch.setattr(transfer.Store, "part", counted)
    monkeypatch.setattr(RemoteFile.open, "__defaults__", ("rb", 1 << 16))
    corpus = open_corpus(f"file://{folder}/{name}", CorpusOptions())
    fetched.clear()
    with contextlib.closing(RangeReader(corpus)) as ranges:
        assert [row.number for row in ranges.read(2100, 2200)] == list(range(2100, 2200))
    assert 0 < sum(fetched) < (folder / name).stat().st_size / 3


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file://{}/nowhere.jsonl", r"nowhere\.jsonl: there is no such file.*Copy the files here"),
        ("file://{}/*.csv", "no file matches"),
        ("file://{}", r"unknown kind of file.*\*\.parquet"),
        ("file://{}/[ar]*", "mixes formats"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, url: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        open_corpus(url.format(folder), CorpusOptions())


def test_a_url_is_shown_without_its_secrets() -> None:
    file = RemoteFile("https://me:s3cr3t@host.org/texts/a.jsonl?key=s3cr3t")
    assert (str(file), file.name) == ("https://host.org/texts/a.jsonl", "a.jsonl")
