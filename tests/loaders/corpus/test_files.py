import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from amix.engine.base.errors import CorpusError, UsageError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus

LINES = b"".join(b'{"text": "review %d", "label": %d}\n' % (number, number % 2) for number in range(2000))
CSV = b"text,label\n" + b"".join(b"review %d,%d\n" % (number, number % 2) for number in range(2000))


def opened(path: Path | str, **options: Any) -> Corpus:
    return open_corpus(str(path), CorpusOptions(**options))


def texts(corpus: Corpus) -> list[str | None]:
    return [row.text for row in corpus.rows()]


def pack(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data, mtime=0)
    if suffix == ".zst":
        return zstandard.ZstdCompressor().compress(data)
    return data


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "data"), [("a.jsonl", LINES), ("a.json", LINES), ("a.csv", CSV), ("A.CSV", CSV)]
)
def test_packed_and_plain_files_give_the_same_rows(
    tmp_path: Path, name: str, data: bytes, suffix: str
) -> None:
    path = tmp_path / (name + suffix)
    path.write_bytes(pack(data, suffix))
    rows = list(opened(path).rows())
    assert len(rows) == 2000
    assert (rows[1999].text, rows[1999].label, rows[1999].reject) == ("review 1999", 1, None)


def test_a_name_that_the_system_refuses_is_told_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"xxx: cannot be read \(File name too long\)"):
        opened(tmp_path / ("x" * 300))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_files_packed_in_several_pieces_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(pack(LINES, suffix) + pack(LINES, suffix))
    assert len(texts(opened(path))) == 4000


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_packed_file_that_was_cut_short_is_an_error(
    tmp_path: Path, name: str, suffix: str, share: float
) -> None:
    whole = pack(LINES if "json" in name else CSV, suffix)
    path = tmp_path / (name + suffix)
    path.write_bytes(whole[: max(5, int(len(whole) * share))])
    with pytest.raises(CorpusError, match=rf"{name}.*damaged or was cut short.*Fetch it again"):
        opened(path)
    with pytest.raises(CorpusError, match="Fetch it again"):
        texts(opened(path, no_labels=True))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_not_packed_as_its_name_says_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(LINES)
    with pytest.raises(CorpusError, match=rf"does not begin like a \{suffix} file.*fetch it again"):
        opened(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (pack(LINES, ".gz"), r"begins like a \.gz file.*Rename it to a\.jsonl\.gz"),
        (pack(LINES, ".zst"), r"begins like a \.zst file.*Rename it to a\.jsonl\.zst"),
        (b"PK\x03\x04 and so on", r"begins like a \.zip file.*Unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer.*git lfs pull"),
    ],
)
def test_a_file_that_is_packed_and_does_not_say_so(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    with pytest.raises(CorpusError, match=says):
        opened(tmp_path / "a.jsonl")


def test_zstd_with_a_window_beyond_what_it_unpacks_unasked(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()  # so no size is written
    data = packer.compress(LINES) + packer.flush()
    assert zstandard.get_frame_parameters(data).window_size == 2**28
    nothing = struct.pack("<II", 0x184D2A50, 4) + b"skip"  # a frame without data
    (tmp_path / "a.jsonl.zst").write_bytes(nothing + data + nothing + data)
    assert len(texts(opened(tmp_path / "a.jsonl.zst"))) == 4000


def test_a_zstd_file_that_is_whole_is_not_called_damaged(tmp_path: Path) -> None:
    words = zstandard.train_dictionary(1000, [b"a review of film %d" % number for number in range(2000)])
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.ZstdCompressor(dict_data=words).compress(LINES))
    with pytest.raises(CorpusError, match="packed with a dictionary") as caught:
        opened(tmp_path / "a.jsonl.zst")
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_bytes_after_the_packed_data_are_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.jsonl{suffix}").write_bytes(pack(LINES, suffix) + b"<html>not found</html>")
    with pytest.raises(CorpusError, match="other bytes follow the packed data"):
        opened(tmp_path / f"a.jsonl{suffix}")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(CorpusError, match="is empty"):
        opened(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data"), [("a.jsonl", b"\n \r\n\n"), ("a.csv", b"text,label\n\n"), ("b.jsonl", b"\xef\xbb\xbf")]
)
@pytest.mark.parametrize("no_labels", [True, False])
def test_a_corpus_without_rows_is_an_error(tmp_path: Path, name: str, data: bytes, no_labels: bool) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError, match="holds no"):
        opened(tmp_path / name, no_labels=no_labels)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file"):
        opened(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, match="no file matches"):
        opened(tmp_path / "*.jsonl")
    with pytest.raises(CorpusError, match="no such file"):
        opened("no-such-corpus-here.jsonl")


@pytest.mark.parametrize("name", ["a.txt", "a.parquet.gz", "a", "a.jsonl.bz2"])
def test_an_unknown_kind_of_file_is_an_error_that_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LINES)
    with pytest.raises(CorpusError, match=r"unknown kind of file.*\.jsonl.*\.csv.*\.parquet"):
        opened(tmp_path / name)


def test_a_glob_is_read_in_the_order_of_its_names(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    for name in ("c", "a", "b"):
        write_jsonl(
            tmp_path / "deep" / f"{name}.jsonl", [{"text": f"{name}{n}", "label": n} for n in range(2)]
        )
    write_jsonl(tmp_path / "deep" / ".hidden.jsonl", [{"text": "no", "label": 0}])
    corpus = opened(tmp_path / "d*" / "*.jsonl")
    assert texts(corpus) == ["a0", "a1", "b0", "b1", "c0", "c1"]
    for start in range(7):
        assert [row.number for row in corpus.rows(start)] == list(range(start, 6))
    files = corpus.identity["files"]
    assert isinstance(files, list)
    assert len(files) == 3


def test_a_relative_glob_and_a_name_with_glob_characters(
    tmp_path: Path, write_jsonl: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a[1].jsonl", [{"text": "odd", "label": 0}])
    write_jsonl(tmp_path / "a1.jsonl", [{"text": "plain", "label": 0}])
    write_jsonl(tmp_path / "my [v1] data" / "part [2] a.jsonl", [{"text": "in brackets", "label": 0}])
    assert texts(opened("a[1].jsonl")) == ["odd"]
    assert texts(opened("a?.jsonl")) == ["plain"]
    assert texts(opened("a[0-9].jsonl")) == ["plain"]
    assert texts(opened("my [v1] data/*.jsonl")) == ["in brackets"]
    assert texts(opened(tmp_path / "my [v1] data" / "part [2]*.jsonl")) == ["in brackets"]
    assert texts(opened("m*/part*")) == ["in brackets"]


def test_a_pattern_takes_nothing_that_is_hidden_or_litter(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    for name in ("a", ".a", "._a", ".ipynb_checkpoints/a", "__MACOSX/a", "deep/.b/a", "deep/c"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": name, "label": 0}])
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"\0\1")
    assert texts(opened(tmp_path / "**" / "*.jsonl")) == ["a", "deep/c"]
    assert texts(opened(tmp_path / ".*" / "*.jsonl")) == [".ipynb_checkpoints/a"]
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CorpusError, match=r"notes\.txt: unknown kind of file"):
        opened(tmp_path / "*")


@pytest.mark.parametrize(
    "other", ["train.jsonl.gz", "train.old.jsonl", "train (1).jsonl", "train copy.jsonl"]
)
def test_files_whose_names_are_those_of_copies_are_named(
    tmp_path: Path, write_jsonl: Callable[..., Path], caplog: pytest.LogCaptureFixture, other: str
) -> None:
    write_jsonl(tmp_path / "train.jsonl", [{"text": "one", "label": 0}])
    (tmp_path / other).write_bytes(pack(b'{"text": "two", "label": 0}\n', Path(other).suffix))
    opened(tmp_path / "train*")
    (note,) = caplog.messages
    assert "look like copies of one file" in note
    assert "train.jsonl" in note
    assert other in note


def test_files_with_the_same_rows_are_named_and_parts_of_one_set_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = LINES.splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "final.jsonl").write_bytes(b"".join(lines[:20] + [b'{"text": "new", "label": 0}\n'] * 9))
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines[1000:]))
    opened(tmp_path / "*.jsonl")
    (note,) = caplog.messages
    assert note.startswith("a.jsonl and final.jsonl look like copies of one file (20 of their first rows")
    for number in range(2):
        (tmp_path / f"c-0000{number}-of-00002.jsonl").write_bytes(LINES)
    caplog.clear()
    opened(tmp_path / "c-*")
    assert not caplog.messages


def test_encodings_are_proposed_and_given(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nfine,0\nun café délicieux \u2013 très bon,1\n".encode("cp1252"))
    corpus = opened(path)
    reasons = [row.reject for row in corpus.rows() if row.reject]
    assert reasons == ["line 3: not UTF-8"]
    remedy = corpus.remedy(reasons)
    assert remedy is not None
    assert "un café délicieux" in remedy
    assert "--encoding windows-1252 ('amix precompute' also with --restart)" in remedy
    assert corpus.remedy(["text is empty"]) is None
    assert texts(opened(path, encoding="windows-1252"))[1] == "un café délicieux \u2013 très bon"
    assert opened(path, encoding="windows-1252").identity != corpus.identity
    assert opened(path, encoding="utf-8").identity == corpus.identity
    with pytest.raises(UsageError, match="--encoding base64"):
        opened(path, encoding="base64")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Отличный фильм, актёры играют прекрасно", "windows-1251"),
        ("Świetny film, żółte światło i wspaniała gra aktorów", "windows-1250"),
        ("这部电影非常好看, 演员很棒", "gb18030"),
        ("it\u2019s a cliché", "windows-1252"),
    ],
)
def test_the_encoding_is_told_by_what_the_text_reads_like(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(f"text,label\n{text},1\n".encode(encoding))
    assert f"--encoding {encoding}" in (
        opened(tmp_path / "a.csv", no_labels=True).remedy(["not UTF-8"]) or ""
    )


def test_no_encoding_is_proposed_for_a_file_that_mixes_them(tmp_path: Path) -> None:
    line = "café,1\n"
    (tmp_path / "a.csv").write_bytes(b"text,label\n" + line.encode() + line.encode("cp1252"))
    assert "mixes encodings" in (opened(tmp_path / "a.csv").remedy(["not UTF-8"]) or "")


def test_columnar_files_say_how_their_text_is_encoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "a.parquet")
    opened(tmp_path / "a.parquet", encoding="cp1252")
    assert caplog.messages == ["--encoding is not used: parquet files say how their text is encoded."]


def test_reasons_name_the_number_of_the_file_not_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": 0}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "x", "label": 1}\n{"text"\n')
    bad = list(opened(tmp_path / "*.jsonl").rows())[2]
    assert bad.reject is not None
    assert bad.reject.startswith("file 2, line 2: not valid JSON")


def test_mixed_formats_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.csv").write_bytes(CSV)
    with pytest.raises(CorpusError, match=r"mixes formats \(a.jsonl, b.csv\)"):
        opened(tmp_path / "*")


def test_columns_are_checked_in_every_file(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": 0}])
    write_jsonl(tmp_path / "b.jsonl", [{"sentence": "x", "label": 0}])
    with pytest.raises(CorpusError, match=r"b\.jsonl: has no column 'text'. It has: sentence, label"):
        opened(tmp_path / "*.jsonl")
