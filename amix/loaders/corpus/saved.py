"""Folders that `save_to_disk` of `datasets` wrote: Arrow files, named by `state.json`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.datafile import DataFile, format_of


def saved_split(folder: Path, split: str) -> list[DataFile] | None:
    """Return the files of a folder that `save_to_disk` wrote, or None if it is another one."""
    name = ""
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits")
        names = [str(each) for each in splits] if isinstance(splits, list) else []
        if split not in names:
            raise CorpusError(
                f"{folder}: was written by save_to_disk and has no split {split!r}. "
                f"Pick with --split: {', '.join(names)}."
            )
        name = f"{split}/"
    path = folder / name / "state.json"
    if not path.is_file():
        return None
    state = _json(path)
    if state.get("_indices_data_files"):
        raise CorpusError(
            f"{path}: an old version of save_to_disk kept the order of the rows apart from them. Write it again: "
            f'datasets.load_from_disk("{folder}").flatten_indices().save_to_disk("new")'
        )
    files = [file for each in _names(state) if (file := format_of(path.parent / each, f"{name}{each}"))]
    if not files:
        raise CorpusError(f"{path}: names no files of save_to_disk. Save the data set again.")
    return files


def _names(state: Mapping[str, Any]) -> Iterator[str]:  # Any: JSON
    files = state.get("_data_files")
    for each in files if isinstance(files, list) else []:
        name = each.get("filename") if isinstance(each, dict) else None
        if isinstance(name, str) and Path(name).name == name:
            yield name


def _json(path: Path) -> dict[str, Any]:  # Any: JSON
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CorpusError(f"{path}: is not JSON as save_to_disk writes it. Save the data set again.")
    return found
