"""A folder that a run writes shards to: locked, cleared of leftovers, and compared with what is asked for."""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Self

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.kinds import is_stray, other_work
from amix.engine.base.place import make_folder, require_writable
from amix.engine.base.processes import lock_folder
from amix.engine.base.publish import (
    explained,
    fsync_folder,
    is_leftover,
    sha256_file,
    sweep,
    temporary_sibling,
)
from amix.engine.base.stopping import undisturbed
from amix.loaders.shards.layout import BLOCK
from amix.loaders.shards.manifest import CARD, MANIFEST, REJECTS, Manifest
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardRecord, read_bytes, recipe_in
from amix.loaders.shards.tokenizer import TOKENIZER

_SHARD_FILE = re.compile(r"shard-\d{8}\.(tar|index\.npy|crc\.npy|json)")
_FIRST_MEMBER = re.compile(rb"\d{12}\.input_ids\.npy\0")
_LAST_FILES = (TOKENIZER, CARD, REJECTS, MANIFEST)  # written when every record is there


def require_place(out: Path) -> None:
    """Raise UsageError or StorageError unless shards can be written to `out`. A whole cache may stay as it is."""
    if not (out / MANIFEST).is_file():
        require_writable(out)


def shards_are_kept(out: Path, restart: bool) -> Callable[[str], str]:
    """Return the message of a run that writes shards to `out` and is ended by a signal, for `signals_end`.

    restart: it was begun with --restart.
    """
    again = ", without --restart." if restart else "."

    def message(name: str) -> str:
        return f"{out}: ended by {name}. Finished shards are kept: run the same command again to go on{again}"

    return message


class Workspace:
    """The output folder of one run that writes shards; the `with` block holds its lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        make_folder(self._folder)
        self._descriptor = lock_folder(self._folder, "writing shards", ShardError)
        try:
            self._refuse_other_work()
            with explained(self._folder):
                sweep(self._folder)
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with undisturbed():
            try:
                # Workers that were ended while they wrote left temporary files. The next run removes what cannot be
                # removed now.
                with contextlib.suppress(OSError):
                    sweep(self._folder)
            finally:
                os.close(self._descriptor)

    def clear(self) -> None:
        """Remove what earlier runs published, the manifest first: no folder that is half removed may look whole."""
        with explained(self._folder):
            (self._folder / MANIFEST).unlink(missing_ok=True)
            fsync_folder(self._folder)
            for path in sorted(self._folder.iterdir()):
                if path.name in _LAST_FILES or _SHARD_FILE.fullmatch(path.name):
                    path.unlink()

    def finished(self, recipe: Recipe) -> Manifest | None:
        """Return the manifest when the folder is a whole cache of `recipe`, else None. Changes nothing.

        Raises ShardError naming the first difference when it is a cache of another recipe.
        """
        try:
            manifest = Manifest.read(self._folder)
        except ShardError:
            return None
        self._require_same(manifest.recipe, recipe)
        try:
            for position in range(len(manifest.shards)):
                manifest.record(position).require_files(self._folder)
            intact = sha256_file(self._folder / TOKENIZER) == manifest.tokenizer.sha256
        except (ShardError, OSError):
            return None
        return manifest if intact else None

    def records(self, recipe: Recipe) -> dict[int, ShardRecord]:
        """Return the records of the units that are finished, by unit. Changes nothing.

        Raises ShardError naming the first difference when the folder was begun with another recipe.
        """
        found = {}
        for path in sorted(self._folder.glob("shard-*.json")):
            try:
                data = read_bytes(path)
                begun = recipe_in(data, str(path))
            except ShardError:
                continue  # a damaged record commits nothing; its unit is built again
            self._require_same(begun, recipe)  # before the rest, which another version writes differently
            try:
                record = ShardRecord.parse(data, str(path), path.stem)
                record.require_files(self._folder)
            except ShardError:
                continue
            found[record.unit] = record
        return found

    def prepare(self) -> None:
        """Make the folder ready for further units: it must be writable, and must not look finished.

        Raises StorageError when it cannot be written, before anything is computed.
        """
        with explained(self._folder):
            probe = temporary_sibling(self._folder / MANIFEST)
            probe.touch()
            probe.unlink()
            # Only a manifest of damaged files is left here. Its whole shards are known by their records.
            (self._folder / MANIFEST).unlink(missing_ok=True)

    def final_records(self, recipe: Recipe, units: set[int]) -> list[ShardRecord]:
        """Return the records of `units`, in order. Raises ShardError unless exactly these are there."""
        found = self.records(recipe)
        odd = sorted(units ^ set(found))
        if odd:
            raise ShardError(
                f"{self._folder}: the shard of unit {odd[0]} changed while the run went on. Run the same command again."
            )
        return [found[unit] for unit in sorted(units)]

    def _require_same(self, before: Recipe, now: Recipe) -> None:
        for name, old, new in before.differences(now):
            raise ShardError(
                f"{self._folder}: was begun with {name} = {old}, now it is {new}. Use the same as before, name another "
                "folder, or start anew with --restart."
            )

    def _refuse_other_work(self) -> None:
        names = {path.name for path in self._folder.iterdir() if not is_stray(path.name)}
        ours = {name for name in names if is_leftover(name)}
        ours |= {name for name in names if _SHARD_FILE.fullmatch(name) and self._is_ours(name)}
        if MANIFEST in names or any(name.endswith(".json") for name in ours):
            ours |= names & set(_LAST_FILES)
        if names - ours:
            raise UsageError(
                f"{self._folder}: {other_work(self._folder, min(names - ours))}. Shards are written to an absent or "
                "empty folder, or one of an earlier precompute run. Name another one."
            )

    def _is_ours(self, name: str) -> bool:
        """Tell our files from somebody else's of the same name; the tar of a killed run may lack its record."""
        if not name.endswith(".tar"):
            return True
        try:
            with (self._folder / name).open("rb") as file:
                head = file.read(BLOCK)
        except OSError:
            return False
        return len(head) < BLOCK or head == bytes(BLOCK) or _FIRST_MEMBER.match(head) is not None
