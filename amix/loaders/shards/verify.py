"""Is a cache whole? Fast: hashes of documents, sizes and counts. Deep: every byte and every member."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from amix.engine.base.errors import FetchError, ShardError
from amix.engine.base.lfs import is_pointer, pointer_refusal
from amix.engine.base.publish import sha256_file
from amix.loaders.shards.codes import decode
from amix.loaders.shards.layout import BLOCK, Wanted, in_blocks, sample_key
from amix.loaders.shards.manifest import MANIFEST, Manifest
from amix.loaders.shards.npy import parse_npy
from amix.loaders.shards.openfiles import OpenFile
from amix.loaders.shards.reader import ShardReader
from amix.loaders.shards.records import ShardRecord
from amix.loaders.shards.tar import members_of
from amix.loaders.shards.tokenizer import TOKENIZER
from amix.loaders.stores import Store, is_remote


def verify(
    folder: str | Path, *, deep: bool = False, on_shard: Callable[[str], None] = lambda name: None
) -> list[str]:
    """Return what is wrong with a cache, in sentences; an empty list when it is whole.

    folder: a path or a URL. The files of a URL are checked there, whatever was fetched before; tars that its manifest
        does not list are not found.
    deep: also compare the sha256 of every file, and every tar member and its values with index and checksums. From a
        URL, one shard at a time is brought here, into a temporary folder.
    on_shard: called with each shard's name before it is read.
    """
    if is_remote(folder):
        return _verify_remote(Store(str(folder)), deep, on_shard)
    folder = Path(folder)
    try:
        manifest = Manifest.read(folder)
    except ShardError as problem:
        return [str(problem)]
    problems = [
        *_checked(manifest.require_listed),
        *_checked(partial(_check_totals, manifest)),
        *_checked(partial(_check_hash, folder / TOKENIZER, manifest.tokenizer.sha256)),
    ]
    for position, entry in enumerate(manifest.shards):
        on_shard(entry.name)
        problems += _checked(partial(_check_shard, manifest, position, deep))
    return problems


def _verify_remote(store: Store, deep: bool, on_shard: Callable[[str], None]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="amix-verify-") as temporary:
        folder = Path(temporary)
        try:
            (folder / MANIFEST).write_bytes(store.read(MANIFEST))
            manifest = Manifest.read(folder)
        except (FetchError, ShardError) as problem:
            problems = [str(problem)]
        else:
            sha256 = manifest.tokenizer.sha256
            problems = [
                *_checked(partial(_check_totals, manifest)),
                *_checked(partial(_check_remote_hash, store, folder / TOKENIZER, sha256)),
            ]
            for position, entry in enumerate(manifest.shards):
                on_shard(entry.name)
                problems += _checked(partial(_check_remote_shard, store, manifest, position, deep))
        return [problem.replace(temporary, str(store)) for problem in problems]


def _check_remote_hash(store: Store, path: Path, sha256: str) -> None:
    path.write_bytes(store.read(path.name))
    _check_hash(path, sha256)


def _check_remote_shard(store: Store, manifest: Manifest, position: int, deep: bool) -> None:
    name = f"{manifest.shards[position].name}.json"
    (manifest.folder / name).write_bytes(store.read(name))
    files = [manifest.folder / file.name for file in manifest.record(position).files]
    try:
        for path in files:
            size = None if deep else store.size(path.name)
            if size is None:
                store.copy(path.name, path)
            else:
                with path.open("wb") as file:
                    file.truncate(size)  # sparse: the fast checks ask for its size alone
        _check_shard(manifest, position, deep)
    finally:
        for path in files:
            path.unlink(missing_ok=True)


def _check_shard(manifest: Manifest, position: int, deep: bool) -> None:
    record = manifest.record(position)
    record.require_files(manifest.folder)
    if deep:
        for file in record.files:
            _check_hash(manifest.folder / file.name, file.sha256)
        _check_contents(manifest, record)


def _checked(check: Callable[[], None]) -> list[str]:
    try:
        check()
    except (FetchError, ShardError) as problem:
        return [str(problem)]
    except OSError as problem:
        return [
            f"{problem.filename}: cannot be read ({problem.strerror}). Run the same 'amix precompute' again."
        ]
    return []


def _check_totals(manifest: Manifest) -> None:
    end = 0
    for entry in manifest.shards:
        begin = entry.row_range[0]
        if begin != end:
            raise ShardError(f"{manifest.folder}: {entry.name} begins at row {begin}, expected {end}.")
        end = entry.row_range[1]
    for name, found, total in (
        ("samples", manifest.samples, sum(entry.samples for entry in manifest.shards)),
        ("tokens", manifest.tokens, sum(entry.tokens for entry in manifest.shards)),
        ("bytes", manifest.tar_bytes, sum(entry.tar_bytes for entry in manifest.shards)),
    ):
        if found != total:
            raise ShardError(
                f"{manifest.folder}: the manifest says {found} {name}, its shards have {total} together."
            )


def _check_hash(path: Path, sha256: str) -> None:
    if is_pointer(path):
        raise ShardError(pointer_refusal(path))
    if sha256_file(path) != sha256:
        raise ShardError(
            f"{path}: the bytes changed since it was written. Remove it and run 'amix precompute' again."
        )


def _check_contents(manifest: Manifest, record: ShardRecord) -> None:
    """Walk the tar member by member; everything in it must be what index, checksums and layout say."""
    reader = ShardReader(manifest, record)
    layout, tar, position = manifest.layout, OpenFile(reader.path), 0
    classes = len(manifest.label_names or ())
    wanted = Wanted(layout, range(layout.heads))
    first, end = record.row_range
    last = first - 1
    if (len(reader.index), int(reader.index["tokens"].sum())) != (record.samples, record.tokens):
        raise ShardError(f"{reader.path}: its index counts other samples or tokens than its record.")
    for number, (row, offset, tokens, label) in enumerate(reader.index.tolist()):
        where = f"{reader.path}: sample {sample_key(row)}"
        if offset != position or not last < row < end:
            raise ShardError(f"{where}: the index does not agree with the tar.")
        last = row
        members = dict(members_of(tar, position, sample_key(row), layout, where))
        position += sum(BLOCK + in_blocks(len(content)) for content in members.values())
        arrays = {name: parse_npy(members[f"{name}.npy"], f"{where}: {name}.npy") for name in layout.arrays}
        for name, array in arrays.items():
            if (array.dtype, array.shape) != layout.array(name, tokens):
                raise ShardError(f"{where}: {name}.npy has dtype or shape of another cache.")
        reader.read(number, wanted)  # compares every checksum
        if int(arrays["input_ids"].max(initial=0)) >= manifest.vocab_size:
            raise ShardError(f"{where}: holds a token id beyond the vocabulary of {manifest.vocab_size}.")
        relevance_HT = decode(arrays["relevance"], arrays["scale"][:, None] if "scale" in arrays else None)
        if not np.isfinite(relevance_HT).all() or (relevance_HT < 0).any():
            raise ShardError(f"{where}: holds relevance that is NaN, infinite or negative.")
        if layout.cls and (members["cls"] != str(label).encode() or not 0 <= label < classes):
            raise ShardError(
                f"{where}: its class is {members['cls']!r}, the index says {label} of {classes} classes."
            )
    if tar.size - position != 2 * BLOCK or tar.read(position, 2 * BLOCK) != bytes(2 * BLOCK):
        raise ShardError(f"{reader.path}: does not end where its index says.")
