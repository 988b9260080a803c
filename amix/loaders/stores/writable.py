"""Files sent to a store, whole, as patiently as they are fetched."""

import contextlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from amix.engine.base.errors import StorageError
from amix.loaders.stores.failures import WRITING, Different
from amix.loaders.stores.transfer import FileSystem, Store

AT_ONCE = 16  # small files
_WITH_FOLDERS = {"file", "local", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs"}  # not buckets
_LOG = logging.getLogger(__name__)


class WritableStore(Store):
    """The files of one remote folder, to be written too. Every method raises StorageError when the store refuses."""

    def make(self) -> None:
        """Make the folder, and those above it, where the store has folders; others have names alone."""
        if self.location.partition("://")[0].lower() in _WITH_FOLDERS:
            self._patiently(
                "", lambda system, path: system.makedirs(path.rstrip("/"), exist_ok=True), WRITING
            )

    def write(self, name: str, data: bytes) -> None:
        """Write a small file. Raises StorageError naming it when the store does not take it."""
        self._patiently(name, lambda system, path: system.pipe_file(path, data), WRITING)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless there is one of that name, and tell whether it holds `data` now.

        By a conditional put where fsspec knows one (`If-None-Match: *` on S3, the like on GCS and Azure), elsewhere
        after a look. So of two writers one is told False, unless both write the same.
        """

        def put(system: FileSystem, path: str) -> bool:
            try:
                system.pipe_file(path, data, mode="create")
            except FileExistsError:
                # It may be ours: an attempt that was answered with an error can have done its work.
                return bytes(system.cat_file(path)) == data
            return True

        return self._patiently(name, put, WRITING)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that is not there is none to remove."""

        def remove(system: FileSystem, path: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(path)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(lambda name: self._patiently(name, remove, WRITING), names):
                pass

    def abort_uploads(self) -> None:
        """Abort what killed writers began to send in parts, on S3: it is in no listing, and is paid for.

        Other stores drop such parts by themselves after a week. Where listing them is not allowed, they stay.
        """

        def abort(system: FileSystem, path: str) -> None:
            if not hasattr(system, "abort_mpu"):
                return
            bucket, prefix, _ = system.split_path(path.rstrip("/") + "/")
            page: dict[str, str] = {}
            while True:
                found = system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **page)
                for upload in found.get("Uploads", []):
                    with contextlib.suppress(FileNotFoundError):  # it has just ended
                        system.abort_mpu(bucket, upload["Key"], upload["UploadId"])
                if not found.get("IsTruncated"):
                    return
                page = {"KeyMarker": found["NextKeyMarker"], "UploadIdMarker": found["NextUploadIdMarker"]}

        try:
            self._patiently("", abort, WRITING)
        except StorageError as problem:
            _LOG.info(f"uploads that were not finished are left: {problem}")

    def send(self, file: Path) -> None:
        """Write a file of this machine under its own name. Raises StorageError as `write` does."""

        def put(system: FileSystem, path: str) -> None:
            system.put_file(str(file), path)
            if system.info(path)["size"] != file.stat().st_size:
                raise Different("the store holds another size than was sent")

        self._patiently(file.name, put, WRITING)
