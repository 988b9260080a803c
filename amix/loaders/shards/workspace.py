"""A place that a run writes shards to: kept from other runs, cleared of leftovers, compared with what is asked for."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from amix.engine.base.errors import AmixError, ShardError, UsageError
from amix.engine.base.kinds import is_stray, other_work
from amix.engine.base.publish import is_leftover, sha256_bytes
from amix.engine.base.stopping import undisturbed
from amix.loaders.shards.layout import BLOCK, FILE_ENDINGS
from amix.loaders.shards.manifest import CARD, MANIFEST, REJECTS, Manifest
from amix.loaders.shards.output import Destination, destination
from amix.loaders.shards.output.documents import read_manifest
from amix.loaders.shards.output.lease import LEASE
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardRecord, recipe_in
from amix.loaders.shards.tokenizer import TOKENIZER

_SHARD_FILE = re.compile(rf"(shard-\d{{8}})\.({'|'.join(map(re.escape, FILE_ENDINGS.values()))}|json)")
_FIRST_MEMBER = re.compile(rb"\d{12}\.input_ids\.npy\0")
_LAST_FILES = (TOKENIZER, CARD, REJECTS, MANIFEST)  # written when every record is there
_AT_ONCE = 16  # documents, which may come from far away
_IN_MEMORY = 1024  # documents


def require_place(out: Path | Destination) -> None:
    """Raise UsageError or StorageError unless shards can be written to `out`. A whole cache may stay as it is."""
    place = destination(out)
    if not place.has(MANIFEST):
        place.require_writable()


def shards_are_kept(out: object, restart: bool) -> Callable[[str], str]:
    """Return the message of a run that writes shards to `out` and is ended by a signal, for `signals_end`.

    out: as messages call it.  restart: the run was begun with --restart.
    """
    again = ", without --restart." if restart else "."

    def message(name: str) -> str:
        return f"{out}: ended by {name}. Finished shards are kept: run the same command again to go on{again}"

    return message


class Workspace:
    """The place that one run writes shards to. In the `with` block no other run writes there."""

    def __init__(self, out: Path | Destination) -> None:
        self._out = destination(out)
        self._listed: dict[str, int] | None = None  # what the run found, as long as it keeps others out
        self._damaged: set[str] = set()  # records

    def __enter__(self) -> Self:
        self._held = contextlib.ExitStack()
        self._held.enter_context(self._out.held())
        try:
            self._listed = self._out.sizes()
            self._refuse_other_work(self._listed)
            self._out.sweep()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._listed = None
        with undisturbed(), self._held:
            # Workers that were ended while they wrote left unpublished files. The next run removes what cannot be
            # removed now.
            with contextlib.suppress(OSError, AmixError):
                self._out.sweep()

    def clear(self) -> None:
        """Remove what earlier runs published, the manifest first: no place that is half removed may look whole."""
        self._remove([MANIFEST])
        self._remove(name for name in self._files() if name in _LAST_FILES or _SHARD_FILE.fullmatch(name))

    def finished(self, recipe: Recipe) -> Manifest | None:
        """Return the manifest when the place holds a whole cache of `recipe`, else None. Changes nothing.

        Raises ShardError naming the first difference when it is a cache of another recipe.
        """
        try:
            manifest = read_manifest(self._out)
        except ShardError:
            return None
        self._require_same(manifest.recipe, recipe)
        files = self._files()
        names = [f"{entry.name}.json" for entry in manifest.shards]
        if not files.keys() >= set(names):
            return None
        try:
            for entry, data in zip(manifest.shards, self._documents(names), strict=True):
                if data is None or not _is_whole(
                    entry.record(data, self._out.named(f"{entry.name}.json")), files
                ):
                    return None
            intact = sha256_bytes(self._out.read(TOKENIZER)) == manifest.tokenizer.sha256
        except ShardError:
            return None
        return manifest if intact else None

    def records(self, recipe: Recipe) -> dict[int, ShardRecord]:
        """Return the records of the units that are finished, by unit. Changes nothing.

        Finished is a unit whose record is undamaged and whose files have the sizes that it says.
        Raises ShardError naming the first difference when the place was begun with another recipe.
        """
        files = self._files()
        names = sorted(name for name in files if _SHARD_FILE.fullmatch(name) and name.endswith(".json"))
        found = {}
        self._damaged = set(names)
        for name, data in zip(names, self._documents(names), strict=True):
            where = self._out.named(name)
            try:
                if data is None:
                    continue
                begun = recipe_in(data, where)
            except ShardError:
                continue  # a damaged record commits nothing; its unit is built again
            self._require_same(begun, recipe)  # before the rest, which another version writes differently
            with contextlib.suppress(ShardError):
                record = ShardRecord.parse(data, where, name.removesuffix(".json"))
                if record.sealed() != data:
                    continue
                self._damaged.remove(name)
                if _is_whole(record, files):
                    found[record.unit] = record
        return found

    def prepare(self) -> None:
        """Make the place ready for further units: it must be writable, and must not look finished.

        Raises StorageError when it cannot be written, before anything is computed.
        """
        self._out.require_writable()
        # Only a manifest of damaged files is left here. Its whole shards are known by their records.
        self._remove(name for name in (MANIFEST, LEASE) if name in self._files())
        self._remove(name for name in self._files() if name in self._damaged or is_leftover(name))

    def final_records(self, recipe: Recipe, units: set[int]) -> list[ShardRecord]:
        """Return the records of `units`, in order, and remove what a killed run left of shards beyond them.

        Raises ShardError unless exactly these are there.
        """
        self._listed = self._out.sizes()
        found = self.records(recipe)
        odd = sorted(units ^ set(found))
        if odd:
            raise ShardError(
                f"{self._out}: the shard of unit {odd[0]} changed while the run went on. Run the same command again."
            )
        names = {record.name for record in found.values()}
        matches = filter(None, map(_SHARD_FILE.fullmatch, self._files()))
        self._remove([match[0] for match in matches if match[1] not in names])
        return [found[unit] for unit in sorted(units)]

    def _files(self) -> dict[str, int]:
        """Return the files that are no links and no folders, with their sizes."""
        listed = self._out.sizes() if self._listed is None else self._listed
        return {name: size for name, size in listed.items() if size >= 0}

    def _documents(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Yield small files, None for one that cannot be read."""

        def read(name: str) -> bytes | None:
            try:
                return self._out.read(name)
            except ShardError:
                return None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for first in range(0, len(names), _IN_MEMORY):
                yield from pool.map(read, names[first : first + _IN_MEMORY])

    def _remove(self, names: Iterable[str]) -> None:
        removed = list(names)
        if not removed:
            return
        self._out.remove(removed)
        if self._listed is not None:
            self._listed = {name: size for name, size in self._listed.items() if name not in set(removed)}

    def _require_same(self, before: Recipe, now: Recipe) -> None:
        for name, old, new in before.differences(now):
            raise ShardError(
                f"{self._out}: was begun with {name} = {old}, now it is {new}. Use the same as before, name another "
                "folder, or start anew with --restart."
            )

    def _refuse_other_work(self, listed: Mapping[str, int]) -> None:
        names = {name for name in listed if not is_stray(name)}
        ours = {name for name in names if is_leftover(name) or name == LEASE}
        ours |= {name for name in names if _SHARD_FILE.fullmatch(name) and self._is_ours(name, names)}
        if MANIFEST in names or any(name.endswith(".json") for name in ours):
            ours |= names & set(_LAST_FILES)
        if names - ours:
            what = other_work(Path(str(self._out)), min(names - ours))
            raise UsageError(
                f"{self._out}: {what}. Shards are written to an absent or empty folder, or one of an earlier "
                "precompute run. Name another one."
            )

    def _is_ours(self, name: str, names: set[str]) -> bool:
        """Tell our files from somebody else's of the same name; the tar of a killed run may lack its record."""
        shard = name.partition(".")[0]
        others = {f"{shard}.{ending}" for ending in FILE_ENDINGS.values()}
        # Nobody else has an index and checksums beside a tar.
        if not name.endswith(".tar") or others <= names:
            return True
        try:
            head = self._out.beginning(name, BLOCK)
        except (OSError, AmixError):
            return False
        return len(head) < BLOCK or head == bytes(BLOCK) or _FIRST_MEMBER.match(head) is not None


def _is_whole(record: ShardRecord, sizes: Mapping[str, int]) -> bool:
    return all(sizes.get(file.name) == file.bytes for file in record.files)
