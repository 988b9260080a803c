"""One split of a folder in Hub layout: `datasets` itself says which file is of which split."""

import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.datafile import KNOWN, DataFile, Format, format_of
from amix.loaders.corpus.saved import saved_split

_LOG = logging.getLogger(__name__)
_CARD = "README.md"
_CARD_HEAD = re.compile(r"---\s*\n(.*?\n)---\s*(\n|$)", re.DOTALL)
# Of formats with equally many files the first is taken, as in `datasets`.
_PREFERRED: tuple[Format, ...] = ("parquet", "arrow", "jsonl", "csv")
# train, train-00000-of-00002, train-00000-of-00002-1a2b3c4d, train-3, train_3
_SHARD = re.compile(r"(?P<stem>.+?)(?:[-_.]\d+(?:-of-(?P<of>\d+)(?:-[0-9a-f]+)?)?)?")


def split_of_folder(folder: Path, split: str, config: str | None) -> list[DataFile]:
    """Return the files of one split of a folder.

    config: a configuration of the folder's card, or a folder inside.
    Raises CorpusError; OSError for what cannot be read.
    """
    configs = _configs_of_card(folder)
    if config is not None and config not in configs:
        if not (folder / config).is_dir():
            listed = f" or one of its card ({', '.join(configs)})" if configs else ""
            raise CorpusError(
                f"{folder / config}: there is no such folder. --config names a subfolder of {folder}{listed}."
            )
        folder, config, configs = folder / config, None, {}
    saved = saved_split(folder, split)
    if saved is not None:
        return saved
    splits = _Splits(folder, _config(folder, configs, config))
    return _of_one_format(splits.files(split), f"{folder}, split {split!r}")


class _Splits:
    """The splits of a folder. given: what its card says about one configuration."""

    def __init__(self, folder: Path, given: Mapping[str, Any]) -> None:  # Any: YAML
        self._folder = folder
        self._root = folder / str(given.get("data_dir") or "")
        self._patterns = given.get("data_files")

    def files(self, split: str) -> list[DataFile]:
        from datasets.data_files import EmptyDatasetError, get_data_patterns, sanitize_patterns

        # A link, because `datasets` takes brackets in the path of the folder for a pattern.
        with tempfile.TemporaryDirectory(prefix="amix-corpus-") as temporary:
            link = Path(temporary) / "corpus"
            link.symlink_to(self._root.absolute(), target_is_directory=True)
            try:
                patterns = (
                    get_data_patterns(str(link))
                    if self._patterns is None
                    else sanitize_patterns(self._patterns)
                )
            except EmptyDatasetError:
                patterns = {}
            except ValueError as problem:  # data_files of another shape, or a split with an odd name
                raise CorpusError(
                    f"{self._folder}: `datasets` cannot tell its splits ({' '.join(str(problem).split())[:200]}). "
                    "Name the files themselves."
                ) from None
            splits = {str(name): self._resolved(link, found) for name, found in patterns.items()}
            if self._patterns is None and not splits.get(split):
                # --split dev of a file dev.jsonl, which `datasets` calls validation; or any other name.
                stems = _by_stem(self._resolved(link, ["**"]))
                splits = {**stems, **{name: files for name, files in splits.items() if files}}
        if not any(splits.values()):
            raise CorpusError(
                f"{self._folder}: holds no data files. It needs a file such as train.jsonl; read are {KNOWN}."
            )
        if not splits.get(split):
            names = sorted(name for name, files in splits.items() if files)
            raise CorpusError(
                f"{self._folder}: has no split {split!r}. Pick with --split: {', '.join(names)}."
            )
        self._require_all(split, splits[split])
        return splits[split]

    def _resolved(self, link: Path, patterns: Sequence[str]) -> list[DataFile]:
        """Return what we can read of what `datasets` finds: each file once, also where two patterns match it."""
        from datasets.data_files import resolve_pattern

        found: dict[str, DataFile] = {}
        for pattern in patterns:
            if "://" in pattern or pattern.startswith("/") or ".." in Path(pattern).parts:
                raise CorpusError(
                    f"{self._folder / _CARD}: names data outside its folder ({pattern}). Name files of the folder."
                )
            try:
                matches = resolve_pattern(pattern, str(link))
            except FileNotFoundError:
                continue
            for match in matches:
                name = os.path.relpath(match, link)
                file = format_of(self._root / name, (self._root / name).relative_to(self._folder).as_posix())
                if file is not None:
                    found.setdefault(name, file)
        return list(found.values())

    def _require_all(self, split: str, files: Sequence[DataFile]) -> None:
        """Raise CorpusError where the names of files say that more of them belong to the split."""
        groups: dict[tuple[PurePath, str], list[int]] = {}
        for file in files:
            match = _shard(file)
            if match["of"] is not None:
                groups.setdefault((file.path.parent, match["stem"]), []).append(int(match["of"]))
        for (parent, stem), totals in groups.items():
            if set(totals) != {len(totals)}:
                wanted = " or ".join(map(str, sorted(set(totals))))
                raise CorpusError(
                    f"{parent}: split {split!r} lacks files: {stem} has {len(totals)}, and their names say {wanted}. "
                    "Fetch all of them."
                )


def _shard(file: DataFile) -> re.Match[str]:
    match = _SHARD.fullmatch(file.path.name.partition(".")[0] or file.path.name)
    assert match is not None
    return match


def _by_stem(files: Sequence[DataFile]) -> dict[str, list[DataFile]]:
    groups: dict[str, list[DataFile]] = {}
    for file in files:
        groups.setdefault(_shard(file)["stem"], []).append(file)
    return groups


def _of_one_format(files: Sequence[DataFile], what: str) -> list[DataFile]:
    """Return the files of the commonest format; the others are named."""
    counts = Counter(file.format for file in files)
    chosen = max(counts, key=lambda format_: (counts[format_], -_PREFERRED.index(format_)))
    others = [file.name for file in files if file.format != chosen]
    if others:
        _LOG.warning(f"{what}: not read, since most files are .{chosen}: {', '.join(others)}.")
    return [file for file in files if file.format == chosen]


def _configs_of_card(folder: Path) -> dict[str, Any]:  # Any: YAML
    """Return what the card of a folder says about its configurations, by name."""
    path = folder / _CARD
    if not path.is_file():
        return {}
    head = _CARD_HEAD.match(path.read_text("utf-8", "replace"))
    if head is None:
        return {}
    import yaml

    try:
        said = yaml.safe_load(head[1])
    except yaml.YAMLError as problem:
        raise CorpusError(
            f"{path}: the YAML on top of it, which may say where the data is, cannot be read "
            f"({' '.join(str(problem).split())[:200]}). Repair it, or name the files themselves."
        ) from None
    configs = said.get("configs") if isinstance(said, dict) else None
    found = [each for each in configs or [] if isinstance(each, dict) and "config_name" in each]
    return {str(each["config_name"]): each for each in found}


def _config(folder: Path, configs: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:  # Any: YAML
    """Return what the card says about one configuration: the one named, the only one, or the default."""
    names = [name] if name is not None else list(configs)
    if len(names) > 1:
        names = [each for each in names if each == "default" or configs[each].get("default")]
    if configs and not names:
        raise CorpusError(f"{folder}: holds several data sets. Pick with --config: {', '.join(configs)}.")
    found: Mapping[str, Any] = configs[names[0]] if names else {}
    return found
