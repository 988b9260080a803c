"""Which files of a store a corpus is made of: a file, or a pattern."""

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from amix.engine.base.errors import CorpusError, FetchError
from amix.loaders.corpus.datafile import KNOWN, DataFile, format_of
from amix.loaders.corpus.find import require_one_format
from amix.loaders.stores import RemoteFile, Store, shown


# Any: fsspec's own options.
def find_remote(url: str, storage_options: dict[str, Any] | None) -> list[DataFile]:
    """Return the files at `url` in order, which may be a pattern (`s3://bucket/texts/*.parquet`).

    Their names are those that the same files would have on this machine, so the corpus is the same there and here.
    Raises CorpusError where there is none that can be read.
    """
    path = PurePosixPath(urlsplit(url).path)
    if not any(character in url for character in "*["):
        return [_known(url, path.name, storage_options)]
    fixed = next(place for place, part in enumerate(path.parts) if any(each in part for each in "*["))
    urls = Store(url, storage_options).matches()
    if not urls:
        raise CorpusError(f"{shown(url)}: no file matches. Check the pattern.")
    files = [
        _known(each, "/".join(PurePosixPath(urlsplit(each).path).parts[fixed:]), storage_options)
        for each in urls
        if not PurePosixPath(each).name.startswith(".")
    ]
    require_one_format(shown(url), files)
    return files


def _known(url: str, name: str, storage_options: dict[str, Any] | None) -> DataFile:
    remote = RemoteFile(url, storage_options)
    file = format_of(remote, name)
    if file is None:
        raise CorpusError(
            f"{remote}: unknown kind of file. A corpus is {KNOWN}. Of a folder in a store, name the files by a "
            f"pattern: {str(remote).rstrip('/')}/*.parquet"
        )
    try:
        remote.stat()
    except FetchError as problem:
        raise CorpusError(
            f"{problem} Copy the files here and name them, if they cannot be read there."
        ) from None
    return file
