"""A shard folder while it is written: locked, cleared of leftovers, and compared with what is asked for."""

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.processes import lock_folder
from amix.engine.base.publish import TEMPORARY, explained, fsync_folder, sha256_file, temporary_sibling
from amix.engine.base.stopping import undisturbed
from amix.loaders.shards.layout import BLOCK
from amix.loaders.shards.manifest import MANIFEST, Manifest, check_files, read_document

_SHARD_FILE = re.compile(r"shard-\d{8}\.(tar|index\.npy|crc\.npy|json)")
_FIRST_MEMBER = re.compile(rb"\d{12}\.input_ids\.npy\0")
_LAST_FILES = ("tokenizer.json", "README.md", "rejects.jsonl", MANIFEST)  # written when every record stands


def shards_are_kept(out: Path, restart: bool) -> Callable[[str], str]:
    """Return what `signals_end` logs of a run that writes shards to `out`, begun with --restart or without."""
    again = ", without --restart." if restart else "."

    def message(name: str) -> str:
        return f"{out}: ended by {name}. Finished shards are kept: run the same command again to go on{again}"

    return message


class Workspace:
    """The output folder of one precompute run; the `with` block holds its lock.

    records: the records of finished units, by unit; filled by `resume`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.records: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        if (self._folder.exists() or self._folder.is_symlink()) and not self._folder.is_dir():
            raise UsageError(f"{self._folder}: is not a folder; shards need one. Name another place.")
        try:
            _make(self._folder)
        except OSError as problem:
            raise UsageError(
                f"{self._folder}: cannot be made ({problem.strerror}). Name another place, or mend it."
            ) from None
        self._descriptor = lock_folder(self._folder, "writing shards", ShardError)
        try:
            self._refuse_other_work()
            with explained(self._folder):
                self._sweep()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with undisturbed():
            try:
                # Workers that were ended in the middle of a write left their temporary files. What cannot be
                # removed now, the next run removes.
                with contextlib.suppress(OSError):
                    self._sweep()
            finally:
                os.close(self._descriptor)

    def clear(self) -> None:
        """Remove what earlier runs published; the manifest first, so that no half-removed folder looks whole."""
        with explained(self._folder):
            (self._folder / MANIFEST).unlink(missing_ok=True)
            fsync_folder(self._folder)
            for path in sorted(self._folder.iterdir()):
                if path.name in _LAST_FILES or _SHARD_FILE.fullmatch(path.name):
                    path.unlink()

    def resume(self, plan: Mapping[str, Any]) -> Manifest | None:
        """Find out what is done; return the manifest when everything is.

        Raises ShardError naming the first difference when the folder was begun with another plan.
        """
        manifest = self._whole(plan)
        if manifest is not None:
            return manifest
        for path in sorted(self._folder.glob("shard-*.json")):
            try:
                record, _ = read_document(path)
            except ShardError:
                continue  # a damaged record commits nothing; its unit is built again
            self._compare(record["plan"], plan)
            try:
                check_files(self._folder, record)
            except ShardError:
                continue
            self.records[record["unit"]] = record
        with explained(self._folder):
            # A folder that cannot be written is found here, before anything is computed.
            probe = temporary_sibling(self._folder / MANIFEST)
            probe.touch()
            probe.unlink()
            # A manifest over damaged files is none: what it lists and still stands was found by the records.
            (self._folder / MANIFEST).unlink(missing_ok=True)
        return None

    def read_records(self, plan: Mapping[str, Any], units: set[int]) -> list[dict[str, Any]]:
        """Return the records of `units`, in order; raises ShardError unless exactly these are there."""
        self.records = {}
        self.resume(plan)
        odd = sorted(units ^ set(self.records))
        if odd:
            raise ShardError(
                f"{self._folder}: the shard of unit {odd[0]} changed while the run went on. Run the same command again."
            )
        return [self.records[unit] for unit in sorted(units)]

    def _whole(self, plan: Mapping[str, Any]) -> Manifest | None:
        try:
            manifest = Manifest.read(self._folder)
        except ShardError:
            return None
        self._compare(manifest.fields["plan"], plan)
        try:
            for position in range(len(manifest.shards)):
                check_files(self._folder, manifest.record(position))
            tokenizer = self._folder / "tokenizer.json"
            intact = sha256_file(tokenizer) == manifest.fields["tokenizer"]["sha256"]
        except (ShardError, OSError):
            return None
        return manifest if intact else None

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            if _is_leftover(path.name):
                path.unlink(missing_ok=True)

    def _compare(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for name, old, new in _differences("", before, now):
            raise ShardError(
                f"{self._folder}: was begun with {name} = {old}, now it is {new}. Use the same as before, name another "
                "folder, or start anew with --restart."
            )

    def _refuse_other_work(self) -> None:
        names = {path.name for path in self._folder.iterdir()}
        ours = {name for name in names if _is_leftover(name)}
        ours |= {name for name in names if _SHARD_FILE.fullmatch(name) and self._is_ours(name)}
        if MANIFEST in names or any(name.endswith(".json") for name in ours):
            ours |= names & set(_LAST_FILES)
        if names - ours:
            raise UsageError(
                f"{self._folder}: already holds other work ({min(names - ours)}). Shards are written to an absent or "
                "empty folder, or one of an earlier precompute run. Name another one."
            )

    def _is_ours(self, name: str) -> bool:
        """Tell a tar of a killed run, which may lack its record, from somebody else's of the same name."""
        if not name.endswith(".tar"):
            return True
        try:
            with (self._folder / name).open("rb") as file:
                head = file.read(BLOCK)
        except OSError:
            return False
        return len(head) < BLOCK or head == bytes(BLOCK) or _FIRST_MEMBER.match(head) is not None


def _make(folder: Path) -> None:
    """Make a folder and those above it, durably: a crash of the machine must not lose it with what it holds."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        with contextlib.suppress(PermissionError):  # a folder that may be written, but not read
            fsync_folder(each.parent)


def _is_leftover(name: str) -> bool:
    published, mark, _ = name.removeprefix(".").partition(TEMPORARY)
    return (
        name.startswith(".")
        and bool(mark)
        and (published in _LAST_FILES or bool(_SHARD_FILE.fullmatch(published)))
    )


def _differences(prefix: str, before: object, now: object) -> list[tuple[str, object, object]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return [
            found
            for key in sorted(before.keys() | now.keys())
            for found in _differences(f"{prefix}.{key}".lstrip("."), before.get(key), now.get(key))
        ]
    return [] if before == now else [(prefix, _short(before), _short(now))]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
