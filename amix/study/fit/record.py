"""What a fit was asked for, kept in its folder, so that another one is refused there."""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError, UsageError
from amix.engine.base.kinds import is_stray, kind_of
from amix.engine.base.publish import is_leftover
from amix.loaders.corpus.corpus import Corpus
from amix.study.fit.budget import budget_text
from amix.study.fit.choice import CHOICE
from amix.study.fit.settings import FitSettings
from amix.train.model.classifier import model_identity
from amix.train.options.config import TrainConfig
from amix.train.options.identity import identity_of

FIT = "fit.json"
_CONTENTS = "the contents of "
_ROLES = {"train": "TRAIN", "dev": "--dev", "test": "--test"}


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """`fit.json`.  asked: what decides the outcome of a fit, by the names of arguments and options."""

    asked: Mapping[str, object]

    @classmethod
    def of(cls, settings: FitSettings, corpora: Mapping[str, Corpus]) -> Self:
        """Return the record of a fit. Raises UsageError or TrainError for a model that is not there."""
        options = identity_of(settings.config(texts=1)) | {"epochs": settings.options.get("epochs")}
        return cls(
            asked={
                "--dev": settings.dev if settings.dev_is_part else "a corpus",
                "--test": None if settings.test is None else "a corpus",
                "--model": model_identity(settings.model),
                "--text-column": settings.corpus.text_column,
                "--pair-column": settings.corpus.pair_column,
                "--label-column": settings.corpus.label_column,
                "--budget": None if settings.budget is None else budget_text(settings.budget),
                **_flags(options),
                # A corpus is known by what it holds, wherever its files are.
                **{
                    f"{_CONTENTS}{_ROLES[role]}": canonical.digest(each.identity)[:12]
                    for role, each in corpora.items()
                },
            }
        )

    @classmethod
    def read(cls, out: Path) -> Self:
        """Read the record in `out`. Raises TrainError for one that is damaged or missing."""
        path = out / FIT
        try:
            return cls(asked=dict(canonical.unseal(path.read_bytes(), str(path), TrainError)["asked"]))
        except (OSError, KeyError, TypeError, ValueError) as problem:
            raise TrainError(
                f"{path}: cannot be read ({problem}). Begin the fit anew in another folder."
            ) from None

    def write(self, out: Path) -> str | None:
        """Publish the record in `out`, a folder that the caller has locked, unless a fit goes on there.

        What a fit of other settings left, which `require_same` let pass, is removed. Returns a sentence about it.
        """
        said = None
        if _is_begun(out):
            different = self._different(out)
            if not different:
                return None
            for path in _stale(out, different):
                shutil.rmtree(path)
            said = (
                f"{out}: a fit of other settings was begun here, and nothing was trained yet. It begins anew."
            )
        publish.write_atomic(out / FIT, canonical.seal({"asked": dict(self.asked)}))
        return said

    def require_same(self, out: Path) -> None:
        """Compare the record with the one in `out`, if a fit was begun there.

        Raises UsageError naming what differs, and where `out` holds other work. A fit that trained nothing yet may be
        given other settings, so that a mistake in a corpus can be mended; but no finished shards are given up.
        """
        if not (out / FIT).is_file():
            publish.require_vacant(out, "a fit")
            return
        if not _is_begun(out):
            return
        different = self._different(out)
        is_trained = any((out / name).exists() for name in ("run", "baseline", CHOICE))
        if not different or not (
            is_trained or any(kind_of(path) == "cache" for path in _stale(out, different))
        ):
            return
        # Another column makes other contents, too: naming the column is enough.
        options = [said for name, said in different.items() if not name.startswith(_CONTENTS)]
        raise UsageError(
            f"{out}: holds a fit of other settings: {'; '.join(options or different.values())}. Repeat the command "
            "with which it was begun, or name another folder."
        )

    def _different(self, out: Path) -> dict[str, str]:
        """Return what was asked for otherwise in `out`, by name, in words."""
        # An option that is younger than the fit was not used there, which is what its default means.
        before = {**_flags(identity_of(TrainConfig())), **self.read(out).asked}
        return {
            name: f"{name} was {before.get(name)!r}, is {self.asked.get(name)!r}"
            for name in {**before, **self.asked}
            if before.get(name) != self.asked.get(name)
        }


def _stale(out: Path, different: Collection[str]) -> list[Path]:
    """Return what `out` holds that does not come from what is asked for now.  different: names of what has changed."""
    if "--model" in different:
        parts = [out / "extractor", *(out / "shards" / role for role in _ROLES)]
    else:
        parts = [out / "shards" / role for role, name in _ROLES.items() if f"{_CONTENTS}{name}" in different]
    return [path for path in parts if path.exists()]


def _is_begun(out: Path) -> bool:
    """Tell whether a fit got further than its record, which is all that one leaves whose model is refused."""
    names = {path.name for path in out.iterdir()} - {FIT}
    return (out / FIT).is_file() and not all(is_leftover(name) or is_stray(name) for name in names)


def _flags(options: Mapping[str, object]) -> dict[str, object]:
    return {f"--{name.replace('_', '-')}": value for name, value in options.items()}
