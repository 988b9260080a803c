"""Arguments that are places: is each what its command takes, or are two of them swapped?"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from amix.engine.base.errors import UsageError
from amix.engine.base.kinds import NAMES, Kind, children, kind_of

# Where a fit has what else is asked for.
_OF_FIT: dict[Kind, str] = {
    "extractor": "extractor",
    "cache": "shards/train",
    "run": "run",
    "model": "run/model",
}
_WHERE_FROM: dict[Kind, str] = {
    "extractor": "'amix export' writes one.",
    "cache": "'amix precompute' writes one.",
    "run": "'amix train' writes one.",
    "comparison": "'amix compare' writes one.",
    "model": "Name a Hub id, or a folder with config.json, weights and tokenizer.",
    "corpus": "Name files, a folder in Hub layout, or a Hub id.",
}


class LocalPath(click.Path):
    """A path of this machine: a URL would become a folder of an odd name."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path. Fails for a URL."""
        from amix.loaders.stores import is_remote, shown

        if isinstance(value, str) and is_remote(value):
            self.fail(f"{shown(value)} is a URL, and a file or folder of this machine is needed.", param, ctx)
        return super().convert(value, param, ctx)


def folder_or_url(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | str | None:
    """Return a URL as it is, and anything else as a path: the callback of an argument that may be either."""
    from amix.loaders.stores import is_remote

    return value if value is None or is_remote(value) else Path(value)


@dataclass(frozen=True)
class Place:
    """An argument that names a file, a folder, a URL or something on the Hub.

    label: how the command calls it, SHARDS or --model.  kinds: what it may be; of an output, what it may be already.
    """

    label: str
    value: str | Path | None
    kinds: Sequence[Kind]
    is_output: bool = False
    words: str = ""  # what it takes, where its kind does not say it

    @property
    def kind(self) -> Kind | None:
        """What it is, None where it is not here, or nothing that amix knows."""
        return None if self.value is None else kind_of(self.value)

    @property
    def is_in_place(self) -> bool:
        """Whether it may be what the command takes. Others find out whether it is."""
        if self.value is None or self.kind in self.kinds:
            return True
        return "://" in str(self.value) or any(character in str(self.value) for character in "*?[")

    @property
    def takes(self) -> str:
        """What the command takes for it, in words."""
        kinds = "a new folder" if self.is_output else " or ".join(NAMES[kind] for kind in self.kinds)
        return self.words or kinds


def check_places(*places: Place) -> None:
    """Raise UsageError for a place that is something else than its argument takes, and say if two look swapped.

    What is not here, or not known, is left to the command, unless another argument is what this one should be.
    """
    for one in places:
        if one.is_output or one.is_in_place:
            continue
        for other in places:
            if other is not one and not other.is_in_place and other.kind in one.kinds:
                raise UsageError(
                    f"{one.label} and {other.label} look swapped: {_shown(one)}, and {_shown(other)}. "
                    f"{one.label} takes {one.takes}, {other.label} {other.takes}."
                )
    for one in places:
        if not one.is_output and not one.is_in_place and one.kind is not None:
            raise UsageError(f"{_shown(one)}; {one.label} takes {one.takes}. {_remedy(one, one.kind)}")


def existing(value: str | None) -> str | None:
    """Return a value that may also be no place, such as a share of the texts; None where no file has that name."""
    return value if value is not None and Path(value).exists() else None


def unknown(folder: str) -> str:
    """Return a sentence about a place that is nothing that amix knows, with what there is in it."""
    path = Path(folder)
    if not path.exists():
        return f"{folder}: there is no such file or folder. Check the path."
    inside = (
        [f"{path / name} is {NAMES[kind]}" for name, kind in children(path).items()] if path.is_dir() else []
    )
    if inside:
        return f"{folder}: is nothing that amix knows, but holds such: {'; '.join(inside)}. Name one of them."
    return (
        f"{folder}: is nothing that amix knows. A cache has a manifest.json, an extractor an extractor.json, a run a "
        "metrics.jsonl, a model a config.json and weights."
    )


def _shown(place: Place) -> str:
    if place.kind is not None:
        return f"{place.value} is {NAMES[place.kind]}"
    return f"{place.value} is {'something else' if Path(str(place.value)).exists() else 'not here'}"


def _remedy(place: Place, kind: Kind) -> str:
    wanted, folder = place.kinds[0], Path(str(place.value))
    if kind == "fit" and wanted in _OF_FIT:
        return f"That of the fit is {folder / _OF_FIT[wanted]}."
    if kind == "run" and wanted == "model":
        return f"The model of that run is {folder / 'model'}."
    if kind == "folder of caches" and wanted == "cache":
        names = [str(folder / name) for name, each in children(folder).items() if each == "cache"]
        return f"Name one of them: {', '.join(names)}."
    if kind == "unfinished cache":
        return "Give the command that began it again, so that it is finished first."
    if kind == "corpus" and wanted == "cache":
        return f"Make one of it with 'amix precompute {folder} SHARDS --extractor EXTRACTOR'."
    if kind == "model" and wanted == "extractor":
        return f"Make one of it with 'amix export {folder} EXTRACTOR'."
    return _WHERE_FROM[wanted]
