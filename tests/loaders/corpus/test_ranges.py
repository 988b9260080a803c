"""Ranges of a corpus read by themselves, in another process than the one that opened it."""

import gzip
import io
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus
from amix.loaders.corpus.formats import offsets
from amix.loaders.corpus.hub import HubSource
from amix.loaders.corpus.ranges import RangeReader

ROWS = [
    {"text": f"review {number}" + " and more" * (number % 7), "label": number % 3} for number in range(500)
]
LINES = [json.dumps(row).encode() for row in ROWS]
TABLE = pa.Table.from_pylist(ROWS)


@pytest.fixture(autouse=True)
def many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "STEP", 32)


def jsonl(folder: Path) -> str:
    lines = [*LINES[:40], b"", b"   ", b"no json", b'"\xff"', *LINES[40:]]
    (folder / "a.jsonl").write_bytes(b"\xef\xbb\xbf\r\n" + b"\r\n".join(lines))
    return "a.jsonl"


def jsonl_parts(folder: Path) -> str:
    for number, start in enumerate((0, 200, 201)):
        stop = (200, 201, 500)[number]
        (folder / f"part-{number}.jsonl").write_bytes(b"\n".join(LINES[start:stop]) + b"\n")
    return "part-*.jsonl"


def packed(folder: Path) -> str:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(LINES)))
    return "a.jsonl.gz"


def recoded(folder: Path) -> str:
    (folder / "a.jsonl").write_bytes(b"\n".join(LINES).decode().encode("utf-16"))
    return "a.jsonl"


def array(folder: Path) -> str:
    (folder / "a.json").write_text(json.dumps(ROWS))
    return "a.json"


def csv(folder: Path) -> str:
    lines = [f'"{row["text"]}\nin two lines",{row["label"]}' for row in ROWS]
    (folder / "a.csv").write_text("\n".join(["text,label", *lines]))
    return "a.csv"


def parquet_parts(folder: Path) -> str:
    pq.write_table(TABLE[:123], folder / "a-0.parquet", row_group_size=50)
    pq.write_table(TABLE[123:], folder / "a-1.parquet", row_group_size=100)
    return "a-*.parquet"


def arrow(folder: Path) -> str:
    Dataset(TABLE).save_to_disk(folder / "saved")
    return "saved"


KINDS = (jsonl, jsonl_parts, packed, recoded, array, csv, parquet_parts, arrow)


def elsewhere(corpus: Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RangeReader:
    """The corpus as a process in another folder has it."""
    data = pickle.dumps(corpus)
    monkeypatch.chdir(folder)
    found: Corpus = pickle.loads(data)
    found.require_unchanged()
    return RangeReader(found)


@pytest.mark.parametrize("write", KINDS)
@pytest.mark.parametrize("limit", [None, 333])
def test_ranges_are_those_of_the_whole_in_any_order_and_in_another_folder(
    write: Callable[[Path], str], limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = open_corpus(write(tmp_path), CorpusOptions(limit=limit))
    rows = list(corpus.rows())
    reader = elsewhere(corpus, tmp_path.parent, monkeypatch)
    ranges = [(start, start + 48) for start in range(0, len(rows) + 100, 48)]
    random.Random(0).shuffle(ranges)
    for start, stop in ranges:
        assert reader.read(start, stop) == rows[start:stop]
    reader.close()
    assert reader.read(5, 7) == rows[5:7]
    reader.close()


def test_ranges_of_the_hub_are_those_of_its_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = CorpusOptions()
    stream = Dataset(TABLE).to_iterable_dataset()
    corpus = Corpus(HubSource("some/data", stream, {}, options), options)
    rows = list(corpus.rows())
    reader = elsewhere(corpus, tmp_path, monkeypatch)
    for start in (400, 10, 70, 480, 600):
        assert reader.read(start, start + 40) == rows[start : start + 40]
    reader.close()


def test_a_range_far_into_json_lines_reads_little_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = open_corpus(str(tmp_path / jsonl_parts(tmp_path)), CorpusOptions())
    taken: list[int] = []

    class Counting(io.BufferedReader):
        def __next__(self) -> bytes:
            line = super().__next__()
            taken.append(len(line))
            return line

    def opening(path: Any, mode: str) -> Any:  # Any: a path, and what open returns
        return Counting(io.FileIO(path, mode.replace("b", "")))

    monkeypatch.setattr(Path, "open", opening)
    assert [row.number for row in RangeReader(corpus).read(490, 492)] == [490, 491]
    assert len(taken) <= 32 + 2
    # What comes next is read on from there.
    reader = RangeReader(corpus)
    reader.read(300, 310)
    taken.clear()
    assert [row.number for row in reader.read(315, 320)] == list(range(315, 320))
    assert len(taken) == 10


def test_a_file_that_is_another_one_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / jsonl(tmp_path)
    corpus = open_corpus(str(path), CorpusOptions())
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(
        CorpusError, match=r"a\.jsonl: has .* bytes, and had .* Every machine must see the same file"
    ):
        corpus.require_unchanged()
    path.unlink()
    with pytest.raises(CorpusError, match=r"a\.jsonl: cannot be read"):
        corpus.require_unchanged()
