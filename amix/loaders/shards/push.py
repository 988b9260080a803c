"""A shard folder to a place that others read it from: the Hub, or a store that fsspec writes to."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from amix.engine.base.errors import ShardError, StorageError, UsageError
from amix.loaders.shards.card import card
from amix.loaders.shards.manifest import MANIFEST, Manifest
from amix.loaders.shards.remote import Store, is_remote, shown
from amix.loaders.shards.verify import verify

_REPO = re.compile(r"(hf://datasets/)?(?P<id>[\w.-]+/[\w.-]+)/?")
_CARD = "README.md"


class Hub(Protocol):
    """What is used of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool | None, exist_ok: bool) -> Any:  # noqa: ANN401
        """Make a repository unless it is there."""

    def upload_folder(
        self,
        *,
        repo_id: str,
        repo_type: str,
        folder_path: str,
        allow_patterns: list[str],
        commit_message: str,
    ) -> Any:  # noqa: ANN401
        """Commit files of a folder together."""


def push(
    folder: Path,
    target: str,
    *,
    private: bool | None = None,
    hub: Hub | None = None,
    storage_options: dict[str, Any] | None = None,
    on_file: Callable[[str], None] = lambda name: None,
) -> str:
    """Send a whole cache to `target` and return the URL that `RelevanceDataset` reads it from.

    target: a data set of the Hub (`name/cache`), which gets one commit; or a URL (`s3://bucket/cache`), where the
        manifest comes last, so that nobody reads half a cache. The card there says how to load it from there.
    hub: None = `huggingface_hub.HfApi()`, with the token that it finds.
    Raises ShardError when the folder is not whole, UsageError for another target, StorageError when it is refused.
    """
    problems = verify(folder)
    if problems:
        raise ShardError(f"{folder}: is not whole, so nothing was sent. {problems[0]}")
    manifest = Manifest.read(folder)
    names = _names(manifest)
    repo = _REPO.fullmatch(target)
    if repo is not None:
        url = f"hf://datasets/{repo['id']}"
        _to_hub(manifest, names, repo["id"], card(manifest.fields, url), private, hub)
        return url
    if not is_remote(target):
        raise UsageError(
            f"{target}: is neither a data set of the Hub (name/cache) nor a URL (s3://bucket/cache)."
        )
    _to_store(manifest, names, Store(target, storage_options), card(manifest.fields, shown(target)), on_file)
    return target


def _names(manifest: Manifest) -> list[str]:
    """Return the files of a cache but its card, the manifest last."""
    endings = ("tar", "index.npy", "crc.npy", "json")
    names = [f"{entry['name']}.{ending}" for entry in manifest.shards for ending in endings]
    names += [name for name in ("tokenizer.json", "rejects.jsonl") if (manifest.folder / name).is_file()]
    return [*names, MANIFEST]


def _to_hub(
    manifest: Manifest, names: list[str], repo: str, text: str, private: bool | None, hub: Hub | None
) -> None:
    if hub is None:
        from huggingface_hub import HfApi

        hub = HfApi()
    message = f"Add {manifest.samples:,} texts with relevance"
    try:
        hub.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="amix-push-") as temporary:
            stage = Path(temporary)
            for name in names:
                (stage / name).symlink_to((manifest.folder / name).absolute())
            (stage / _CARD).write_text(text, encoding="utf-8")
            hub.upload_folder(
                repo_id=repo,
                repo_type="dataset",
                folder_path=str(stage),
                allow_patterns=[*names, _CARD],
                commit_message=message,
            )
    except (OSError, ValueError) as problem:  # what huggingface_hub raises descends from these
        raise StorageError(
            f"{repo}: the Hub refused it ({type(problem).__name__}: {problem}). Log in with 'hf auth login' as "
            "somebody who may write there, and run the same command again; what was sent is not sent twice."
        ) from problem


def _to_store(
    manifest: Manifest, names: list[str], store: Store, text: str, on_file: Callable[[str], None]
) -> None:
    store.write(_CARD, text.encode())
    for name in names:
        store.send(manifest.folder / name)
        on_file(name)
