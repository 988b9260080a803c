"""The results of comparisons, in one archive: what comes back from a machine, and is continued on another."""

import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gpu.places import Places

RESULT = "result.json"  # as in amix.study.compare.outcome, which would import torch
# What `amix compare` and its runs write, but for models, the page, and predictions that no table is made of.
_KEPT = (
    "*.yaml",
    "*.log",
    "*/table.md",
    "*/grid.yaml",
    "*/runs.csv",
    "*/comparison.json",
    "*/runs/*/*/*/seed-*/*.yaml",
    "*/runs/*/*/*/seed-*/*.json*",
    "*/runs/*/*/*/seed-*/predictions/eval-*",  # `amix compare` resamples them, also those of earlier calls
)


def folder(places: Places, mode: str) -> Path:
    """Return where the comparisons of a mode are on this machine, a folder for each grid."""
    return places.work / "results" / mode


def archive(mode: str) -> str:
    """Return the name of the archive of a mode."""
    return f"{mode}.tar.gz"


def restore(places: Places, mode: str) -> None:
    """Unpack the archive in OUT, or else the one of an earlier call. What is on this machine stays as it is."""
    found = [path for each in (places.out, places.before) if (path := each / archive(mode)).is_file()]
    if not found:
        return
    with tempfile.TemporaryDirectory(dir=places.work) as scratch:
        with tarfile.open(found[0]) as tar:
            tar.extractall(scratch, filter="data")
        paths = [path for path in Path(scratch).rglob("*") if path.is_file()]
        # The result of a run comes after its other files: with it the run counts as finished.
        for path in sorted(paths, key=lambda path: path.name == RESULT):
            name = path.relative_to(scratch)
            to = places.out / name if len(name.parts) == 1 else places.work / "results" / name
            if not to.exists():
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(path.read_bytes())  # OUT may be on another disk


def keep(places: Places, mode: str) -> None:
    """Write the archive of a mode to OUT: the journal and what its comparisons have finished."""
    to = places.out / archive(mode)
    stage = to.with_name(f".{to.name}")
    with tarfile.open(stage, "w:gz", compresslevel=6) as tar:
        journal = places.out / f"{mode}.jsonl"
        if journal.is_file():
            tar.add(journal, journal.name)
        root = folder(places, mode)
        for path in _kept(root):
            tar.add(path, Path(mode, path.relative_to(root)))
    stage.replace(to)


def tables(out: Path, mode: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the table of each comparison in the archive of a mode, if there is one."""
    if not (out / archive(mode)).is_file():
        return
    with tarfile.open(out / archive(mode)) as tar:
        for name in sorted(tar.getnames()):
            path = Path(name)
            if path.name == "table.md" and (file := tar.extractfile(name)) is not None:
                yield path.parent.name, file.read().decode("utf-8")


def _kept(root: Path) -> list[Path]:
    found = {path for pattern in _KEPT for path in root.glob(pattern) if path.is_file()}
    # A folder of a run that is not finished begins with a dot.
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts[-3:]))
