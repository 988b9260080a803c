"""Which local files a corpus is made of: a file, a glob, or one split of a folder in Hub layout."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from amix.engine.base.errors import CorpusError

Format = Literal["jsonl", "csv", "parquet"]
Compression = Literal["gz", "zst"]

KNOWN = ".jsonl, .json (one object a line) or .csv, each also with .gz or .zst, or .parquet"
_FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}
_NO_DATA = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"})
# train, train-00000-of-00002, train-00000-of-00002-1a2b3c4d, train-3, train_3
_SHARD = re.compile(r"(?P<split>.+?)(?:[-_.]\d+(?:-of-(?P<of>\d+)(?:-[0-9a-f]+)?)?)?")


@dataclass(frozen=True, slots=True)
class DataFile:
    """One local file and how to read it."""

    path: Path
    format: Format
    compression: Compression | None


def format_of(path: Path) -> DataFile | None:
    """Return how to read `path`, judged by its name, or None when the name does not say."""
    name = path.name.lower()
    compression = _COMPRESSIONS.get(Path(name).suffix)
    if compression is not None:
        name = Path(name).stem
    format_ = _FORMATS.get(Path(name).suffix)
    if format_ is None or (format_ == "parquet" and compression is not None):
        return None
    return DataFile(path, format_, compression)


def find_files(source: str, split: str, config: str | None) -> list[DataFile]:
    """Return the files of `source` in order: at least one, all of one format. Raises CorpusError."""
    path = Path(source).expanduser()
    if path.is_dir():
        files = _split_of_folder(path, split, config)
    elif path.exists():
        files = [_known(path)]
    elif any(character in source for character in "*?["):
        anchor = Path(path.anchor)
        matches = sorted(anchor.glob(str(path.relative_to(anchor))))
        files = [_known(match) for match in matches if match.is_file() and not match.name.startswith(".")]
        if not files:
            raise CorpusError(f"{source}: no file matches. Check the pattern.")
    else:
        raise CorpusError(f"{source}: there is no such file or folder. Check the path.")
    formats = {file.format: file.path.name for file in reversed(files)}
    if len(formats) > 1:
        raise CorpusError(
            f"{source}: mixes formats ({', '.join(sorted(formats.values()))}). Name files of one format."
        )
    return files


def _known(path: Path) -> DataFile:
    file = format_of(path)
    if file is None:
        raise CorpusError(f"{path}: unknown kind of file. A corpus is {KNOWN}.")
    return file


def _data_files(folder: Path) -> list[DataFile]:
    """Return the data files of a folder in Hub layout: in itself, or else in its `data`."""
    for place in (folder, folder / "data"):
        if place.is_dir():
            paths = sorted(path for path in place.iterdir() if path.is_file() and path.name[0] != ".")
            files = [format_of(path) for path in paths if path.name not in _NO_DATA]
            found = [file for file in files if file is not None]
            if found:
                return found
    return []


def _split_of_folder(folder: Path, split: str, config: str | None) -> list[DataFile]:
    if config is not None:
        folder = folder / config
        if not folder.is_dir():
            raise CorpusError(
                f"{folder}: there is no such folder. --config names a subfolder of {folder.parent}."
            )
    files = _data_files(folder)
    if not files:
        configs = sorted(path.name for path in folder.iterdir() if path.is_dir() and _data_files(path))
        if len(configs) > 1:
            raise CorpusError(f"{folder}: holds several data sets. Pick with --config: {', '.join(configs)}.")
        if not configs:
            raise CorpusError(f"{folder}: holds no data files. A folder in Hub layout holds train{KNOWN}.")
        files = _data_files(folder / configs[0])
    splits: dict[str, list[DataFile]] = {}
    totals: dict[str, set[int]] = {}
    for file in files:
        stem = file.path.name.partition(".")[0]
        match = _SHARD.fullmatch(stem)
        assert match is not None
        splits.setdefault(match["split"], []).append(file)
        if match["of"] is not None:
            totals.setdefault(match["split"], set()).add(int(match["of"]))
    if split not in splits:
        raise CorpusError(
            f"{folder}: has no split {split!r}. Pick with --split: {', '.join(sorted(splits))}."
        )
    chosen = splits[split]
    if totals.get(split, {len(chosen)}) != {len(chosen)}:
        wanted = " or ".join(map(str, sorted(totals[split])))
        raise CorpusError(
            f"{folder}: split {split!r} has {len(chosen)} files, the names say {wanted}. Fetch all of them."
        )
    return chosen
