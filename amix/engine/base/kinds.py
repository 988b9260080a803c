"""What a file or folder is, judged by the names in it, so that messages can say what was mistaken for what."""

import contextlib
import re
from collections.abc import Set
from pathlib import Path
from typing import Literal

Kind = Literal[
    "fit",
    "extractor",
    "cache",
    "unfinished cache",
    "folder of caches",
    "run",
    "comparison",
    "ranking",
    "analysis",
    "checkpoint",
    "model",
    "corpus",
]
NAMES: dict[Kind, str] = {
    "fit": "a fit",
    "extractor": "an extractor",
    "cache": "a cache of shards",
    "unfinished cache": "a cache of shards that is not finished",
    "folder of caches": "a folder of caches",
    "run": "a run",
    "comparison": "a comparison",
    "ranking": "a ranking of heads",
    "analysis": "an analysis of heads",
    "checkpoint": "a checkpoint of a run",
    "model": "a model",
    "corpus": "a corpus",
}

_STRAY = frozenset({".DS_Store", ".AppleDouble", ".Spotlight-V100", ".directory", "Thumbs.db", "desktop.ini"})
_RECORD = re.compile(r"shard-\d{8}\.json")
_WEIGHTS = re.compile(r"(model.*\.safetensors|pytorch_model.*\.bin)(\.index\.json)?")
_TEXTS = re.compile(r"(?!metrics\.|rejects\.).+\.(jsonl|csv|tsv|parquet|arrow)(\.gz|\.zst)?", re.IGNORECASE)
# In a folder, JSON is mostly settings.
_TEXT_FILE = re.compile(rf"{_TEXTS.pattern}|.+\.json(\.gz|\.zst)?", re.IGNORECASE)


def kind_of(place: str | Path) -> Kind | None:
    """Return what a file or folder of this machine is, None for anything else and for what cannot be looked into.

    Only names are looked at: whether the files are whole is for their readers to say.
    """
    path = Path(place)
    with contextlib.suppress(OSError, ValueError):  # ValueError: a name that no file can have
        if path.is_file():
            return "corpus" if _TEXT_FILE.fullmatch(path.name) else None
        if path.is_dir():
            return _of_folder(path)
    return None


def is_stray(name: str) -> bool:
    """Tell a file that a desktop or a network file system leaves in every folder, and that is nobody's work."""
    return name in _STRAY or name.startswith(("._", ".nfs", ".fuse_hidden", ".Trash-"))


def described(place: str | Path) -> str | None:
    """Return what a file or folder is in words, `a cache of shards`; None where it is nothing that amix knows."""
    kind = kind_of(place)
    return None if kind is None else NAMES[kind]


def other_work(folder: Path, name: str) -> str:
    """Return what a folder holds that is to be written to, in words.  name: of a file that should not be there."""
    found = described(folder)
    return f"already holds other work ({name})" + (f": it is {found}" if found else "")


def children(folder: Path) -> dict[str, Kind]:
    """Return what the files and folders in `folder` are, by name, of those that amix knows."""
    with contextlib.suppress(OSError):
        found = {path.name: kind_of(path) for path in sorted(folder.iterdir()) if path.name[0] != "."}
        # A JSON file beside other things is hardly ever a corpus.
        return {name: kind for name, kind in found.items() if kind is not None and not name.endswith(".json")}
    return {}


def _of_folder(folder: Path) -> Kind | None:
    names = {path.name for path in folder.iterdir()}
    if "fit.json" in names:
        return "fit"
    if "extractor.json" in names:
        return "extractor"
    if "manifest.json" in names and ("tokenizer.json" in names or any(map(_RECORD.fullmatch, names))):
        return "cache"
    if any(map(_RECORD.fullmatch, names)):
        return "unfinished cache"
    if {"config.yaml", "metrics.jsonl"} <= names:
        return "run"
    if "ranking.json" in names:
        return "ranking"
    if "analysis.json" in names:
        return "analysis"
    if names & {"comparison.json", "grid.yaml"} or next(folder.glob("runs/*/*/*/seed-*"), None) is not None:
        return "comparison"
    if {"state.json", "optimizer.safetensors"} <= names:
        return "checkpoint"
    if "config.json" in names and any(map(_WEIGHTS.fullmatch, names)):
        return "model"
    return _of_collection(folder, names)


def _of_collection(folder: Path, names: Set[str]) -> Kind | None:
    if any(
        (folder / name / "manifest.json").is_file() and kind_of(folder / name) == "cache" for name in names
    ):
        return "folder of caches"
    data = folder / "data"
    inner = {path.name for path in data.iterdir()} if data.is_dir() else set()
    return "corpus" if any(map(_TEXTS.fullmatch, names | inner)) else None
