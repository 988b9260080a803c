"""A cache, sent to where others can read it: the Hub, or a store that fsspec writes to."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from amix.engine.base.errors import ShardError, StorageError, UsageError
from amix.engine.base.words import counted
from amix.loaders.shards.card import card, longest_text
from amix.loaders.shards.layout import FILE_ENDINGS
from amix.loaders.shards.manifest import CARD, MANIFEST, REJECTS, Manifest
from amix.loaders.shards.tokenizer import TOKENIZER
from amix.loaders.shards.verify import verify
from amix.loaders.stores import WritableStore, is_remote, shown

_REPO = re.compile(r"(hf://datasets/)?(?P<id>[\w.-]+/[\w.-]+)/?")


class Hub(Protocol):
    """The methods of `huggingface_hub.HfApi` that are used."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool | None, exist_ok: bool) -> object:
        """Make a repository unless it is there."""

    def upload_folder(
        self,
        *,
        repo_id: str,
        repo_type: str,
        folder_path: str,
        allow_patterns: list[str],
        commit_message: str,
    ) -> object:
        """Commit files of a folder together."""


def push(
    folder: Path,
    target: str,
    *,
    private: bool | None = None,
    hub: Hub | None = None,
    storage_options: dict[str, Any] | None = None,  # Any: fsspec's own options
    on_file: Callable[[str], None] = lambda name: None,
) -> str:
    """Send a whole cache to `target` and return the URL that `RelevanceDataset` reads it from.

    target: a data set of the Hub (`name/cache`), which gets one commit; or a URL (`s3://bucket/cache`), to which the
        manifest is sent last, so that nobody reads half a cache. The card there says how to load it from there.
    hub: None = `huggingface_hub.HfApi()`, with the token that it finds.
    Raises ShardError when the folder is not whole, UsageError for another target, StorageError when it is refused.
    """
    problems = verify(folder)
    if problems:
        raise ShardError(f"{folder}: is damaged, so nothing was sent. {problems[0]}")
    manifest = Manifest.read(folder)
    names = _names(manifest)
    longest = longest_text(
        lambda name: (folder / name).read_bytes(), map(manifest.record, range(len(manifest.shards)))
    )
    repo = _REPO.fullmatch(target)
    if repo is not None:
        url = f"hf://datasets/{repo['id']}"
        _to_hub(manifest, names, repo["id"], card(manifest, longest, url), private, hub)
        return url
    if not is_remote(target):
        raise UsageError(
            f"{target}: is neither a data set of the Hub (name/cache) nor a URL (s3://bucket/cache, file:///folder)."
        )
    _to_store(
        manifest,
        names,
        WritableStore(target, storage_options),
        card(manifest, longest, shown(target)),
        on_file,
    )
    return target


def _names(manifest: Manifest) -> list[str]:
    """Return the files of a cache except its card, the manifest last."""
    endings = (*FILE_ENDINGS.values(), "json")
    names = [f"{entry.name}.{ending}" for entry in manifest.shards for ending in endings]
    names += [name for name in (TOKENIZER, REJECTS) if (manifest.folder / name).is_file()]
    return [*names, MANIFEST]


def _to_hub(
    manifest: Manifest, names: list[str], repo: str, text: str, private: bool | None, hub: Hub | None
) -> None:
    if hub is None:
        from huggingface_hub import HfApi

        hub = HfApi()
    message = f"Add {counted(manifest.samples, 'text')} with relevance"
    try:
        hub.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="amix-push-") as temporary:
            stage = Path(temporary)
            for name in names:
                (stage / name).symlink_to((manifest.folder / name).absolute())
            (stage / CARD).write_text(text, encoding="utf-8")
            hub.upload_folder(
                repo_id=repo,
                repo_type="dataset",
                folder_path=str(stage),
                allow_patterns=[*names, CARD],
                commit_message=message,
            )
    except Exception as problem:  # a dozen types, of several packages
        if _is_unreachable(problem):
            raise StorageError(
                f"{repo}: the Hub cannot be reached ({type(problem).__name__}: {problem}). Check the network, and run "
                "the same command again; files that arrived are not sent twice."
            ) from problem
        if not isinstance(problem, OSError | ValueError):  # those of huggingface_hub are subclasses of these
            raise
        raise StorageError(
            f"{repo}: the Hub refused it ({type(problem).__name__}: {problem}). Log in with 'hf auth login' as "
            "somebody who may write there, and run the same command again; files that arrived are not sent twice."
        ) from problem


def _is_unreachable(problem: Exception) -> bool:
    """Tell an error of the network, by its name: the Hub's client has used several packages for HTTP."""
    return any(word in type(problem).__name__ for word in ("Connect", "Timeout", "Offline"))


def _to_store(
    manifest: Manifest, names: list[str], store: WritableStore, text: str, on_file: Callable[[str], None]
) -> None:
    store.make()
    store.write(CARD, text.encode(errors="backslashreplace"))
    for name in names:
        store.send(manifest.folder / name)
        on_file(name)
