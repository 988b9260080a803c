"""Which local files a corpus is made of: a file, a glob, or one split of a folder."""

import stat
from collections.abc import Sequence
from pathlib import Path

from amix.engine.base.errors import CorpusError
from amix.engine.base.place import require_visible
from amix.loaders.corpus.datafile import KNOWN, DataFile, format_of
from amix.loaders.corpus.folders import split_of_folder

# File managers leave these; hidden files are left out anyway.
_LITTER = frozenset({"thumbs.db", "desktop.ini"})
_TWICE = "and a corpus is read more than once. Write it to a regular file first, and name that"


def find_files(source: str, split: str, config: str | None) -> list[DataFile]:
    """Return the files of `source` in order: at least one, all of one format. Raises CorpusError."""
    if source == "-":
        raise CorpusError(f"-: would be standard input, {_TWICE}: cat > corpus.jsonl")
    path = Path(source).expanduser()
    try:
        require_visible(path)
        if path.is_dir():
            return split_of_folder(path, split, config)
        if path.exists():
            return [_known(path, path.name)]
        files = _matches(path) if any(character in source for character in "*?[") else None
    except OSError as problem:
        raise CorpusError(f"{source}: cannot be read ({problem.strerror or problem}). Check it.") from None
    if files is None:
        raise CorpusError(f"{source}: there is no such file or folder. Check the path.")
    if not files:
        raise CorpusError(f"{source}: no file matches. Check the pattern.")
    require_one_format(source, files)
    return files


def require_one_format(source: str, files: Sequence[DataFile]) -> None:
    """Raise CorpusError unless all files have the same format."""
    formats = {file.format: file.name for file in reversed(files)}
    if len(formats) > 1:
        raise CorpusError(
            f"{source}: mixes formats ({', '.join(sorted(formats.values()))}). Name files of one format."
        )


def _matches(path: Path) -> list[DataFile]:
    """Return the files that a pattern matches. Folders that exist as they are written are no patterns."""
    parts = path.parts
    base, count = (Path(path.anchor), 1) if path.anchor else (Path(), 0)
    while count < len(parts) - 1 and (base / parts[count]).is_dir():
        base, count = base / parts[count], count + 1
    pattern = "/".join(parts[count:])
    found = list(base.glob(pattern)) or list(base.glob(pattern.replace("[", "[[]")))
    # Which ones are hidden is as in `datasets`: a checkpoint of a notebook is not meant by `**`.
    wanted = [match for match in sorted(found) if _hidden(match.relative_to(base)) == _hidden(Path(pattern))]
    return [
        _known(match, match.relative_to(base).as_posix())
        for match in wanted
        if not match.is_dir() and match.name.lower() not in _LITTER
    ]


def _hidden(path: Path) -> int:
    """Count the hidden parts of a path: all names with a dot before them, and folders such as `__pycache__`."""
    return sum(part.startswith(".") for part in path.parts) + sum(
        part.startswith("__") for part in path.parts[:-1]
    )


def _known(path: Path, name: str) -> DataFile:
    mode = path.stat().st_mode
    for is_kind, kind in (
        (stat.S_ISFIFO, "a pipe (FIFO)"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_kind(mode):
            raise CorpusError(f"{path}: is {kind}, {_TWICE}: cat {path} > corpus{path.suffix or '.jsonl'}")
    file = format_of(path, name)
    if file is None:
        raise CorpusError(f"{path}: unknown kind of file. A corpus is {KNOWN}.")
    return file
